"""The SQL engine of a process: DuckDB, in memory, without access to files or the network."""

from __future__ import annotations

import json
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MEMORY_LIMIT_BYTES = 1024 * 1024 * 1024

# The order matters: nothing can be set once access is disabled or the configuration is locked.
_SETTINGS = (
    "SET temp_directory = ''",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET threads = 1",
    f"SET memory_limit = '{MEMORY_LIMIT_BYTES // 1024 // 1024}MiB'",
    "SET TimeZone = 'UTC'",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)

# Scalar functions whose result depends on more than their arguments, though DuckDB does not say so,
# and functions that show or run more than one expression.
_REFUSED = frozenset(
    {
        *("age", "current_localtime", "current_localtimestamp", "version"),
        *("json_deserialize_sql", "json_serialize_plan", "json_serialize_sql", "invoke"),
    }
)

# Macros that expand to pure scalar functions; others read catalogs, settings or the clock.
_MACROS = frozenset(
    {
        *("array_append", "array_pop_back", "array_pop_front", "array_prepend"),
        *("array_push_back", "array_push_front", "array_reverse", "array_to_string"),
        *("date_add", "days_in_month", "fdiv", "fmod", "if", "list_any_value", "list_append"),
        *("list_avg", "list_bool_and", "list_bool_or", "list_count", "list_first", "list_last"),
        *("list_max", "list_median", "list_min", "list_mode", "list_prepend", "list_product"),
        *("list_reverse", "list_stddev_pop", "list_stddev_samp", "list_sum", "list_var_pop"),
        *("list_var_samp", "nullif", "split_part"),
    }
)


class SqlEngine:
    """A locked-down DuckDB; every thread works with a cursor of its own."""

    def __init__(self) -> None:
        import duckdb

        self._connection = duckdb.connect()
        for setting in _SETTINGS:
            self._connection.execute(setting)
        self._lock = threading.Lock()
        self._local = threading.local()
        self.functions = self._find_functions()
        """Names of all functions that an expression may call."""

    def query(self, sql: str, *, rows: pa.Table, table_name: str) -> pa.Table:
        """Run a query over an Arrow table that is visible as `table_name`.

        Raises duckdb.Error.
        """
        cursor = self._cursor()
        cursor.register(table_name, rows)
        try:
            return cursor.sql(sql).to_arrow_table()
        finally:
            cursor.unregister(table_name)

    def describe(self, sql: str, *, rows: pa.Table, table_name: str) -> list[tuple[str, Any]]:
        """Return names and DuckDB types of a query's columns. Raises duckdb.Error."""
        cursor = self._cursor()
        cursor.register(table_name, rows)
        try:
            relation = cursor.sql(sql)
            return list(zip(relation.columns, relation.types, strict=True))
        finally:
            cursor.unregister(table_name)

    def parse(self, statement: str) -> dict[str, Any]:
        """Return DuckDB's syntax tree of a statement, or its account of why there is none."""
        cursor = self._cursor()
        (document,) = cursor.execute(
            "SELECT json_serialize_sql(?::VARCHAR)", [statement]
        ).fetchall()
        tree: dict[str, Any] = json.loads(document[0])
        return tree

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            with self._lock:
                cursor = self._connection.cursor()
            self._local.cursor = cursor
        return cursor

    def _find_functions(self) -> frozenset[str]:
        pure = self._connection.execute(
            "SELECT function_name FROM duckdb_functions() GROUP BY 1 HAVING "
            "bool_or(function_type = 'scalar') "
            "AND bool_and(function_type NOT IN ('aggregate', 'window', 'macro')) "
            "AND bool_and(stability = 'CONSISTENT') FILTER (function_type = 'scalar')"
        ).fetchall()
        named = {name for (name,) in pure if not name.startswith("__internal")}
        return frozenset((named - _REFUSED) | _MACROS)


@lru_cache(maxsize=1)
def _make_engine() -> SqlEngine:
    return SqlEngine()


_MAKING = threading.Lock()


def engine() -> SqlEngine:
    """Return the process's engine; it is made when it is first needed."""
    with _MAKING:
        return _make_engine()


def quoted(name: str) -> str:
    """Return a name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
