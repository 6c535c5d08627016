"""Compiles expressions into one query, evaluates it, and finds the rows that fail.

Expressions that use others are nested: every level is a SELECT over the level below, so a query
evaluates all of them over all rows at once. A table whose rows all succeed costs that one query.
Only when it fails is it run again with every expression inside TRY({'v': ...}): a NULL struct then
means that the row failed, while {'v': NULL} is a legal NULL.
"""

# ruff: noqa: S608 - queries consist of expressions that expression_check has accepted

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed, ProcessBroken
from batch_inference_runner.rows import RowErrors
from batch_inference_runner.transforms.sql import SqlEngine, quoted
from batch_inference_runner.transforms.sql_types import bindable, require_usable, result_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_runner.rows import Indices, Stage

_ROWS = "rows_of_the_batch__"
_TRIED = "tried__{}"
_FAILED = "failed__{}"
_ROWS_EXPLAINED = 32
_UNCLEAR = "could not be computed for this row"
_OPERATORS = frozenset({"PROJECTION", "PYTHON_ARROW_SCAN", "ARROW_SCAN"})
_NULLS = ("null", "sqlnull")
_UNUSABLE = {
    "hugeint": "cast it to BIGINT, DOUBLE or DECIMAL",
    "uhugeint": "cast it to UBIGINT, DOUBLE or DECIMAL",
    "bignum": "cast it to BIGINT, DOUBLE or DECIMAL",
    "bit": "cast it to VARCHAR",
    "enum": "cast it to VARCHAR",
    "interval": "convert it to a number, for example with date_diff()",
    **dict.fromkeys(_NULLS, "cast NULL to a type, for example CAST(NULL AS DOUBLE)"),
    "time with time zone": "cast it to TIME",
    "union": "use union_extract()",
    "variant": "cast it to a type",
    "geometry": "use st_astext()",
}


class Computed(NamedTuple):
    """One expression of a projection; `uses` are names of the table and of earlier expressions."""

    name: str
    sql: str
    uses: frozenset[str]
    what: str


class Evaluated(NamedTuple):
    """Values of the expressions, for the rows at `kept` only; None: for all."""

    columns: tuple[pa.ChunkedArray, ...]
    kept: Indices | None = None
    errors: tuple[RowErrors, ...] = ()


class Projection:
    """Expressions over the rows of tables of one schema; safe to use from several threads."""

    def __init__(
        self, engine: SqlEngine, items: Sequence[Computed], schema: pa.Schema, *, stage: Stage
    ) -> None:
        self._engine = engine
        self._items = tuple(items)
        self._stage = stage
        computed = {item.name for item in items}
        self.required = frozenset(name for item in items for name in item.uses) - computed
        self._sources = [field for field in schema if field.name in self.required]
        self._plain = self._query(tried=False)
        self._tried = self._query(tried=True)
        self.fields = self._compile()

    def evaluate(self, table: pa.Table) -> Evaluated:
        """Compute the expressions for n rows; rows that fail are in `errors`.

        Raises JobFailed when the engine gives another number of rows, ProcessBroken when it broke,
        MemoryError when there is too little memory for these rows.
        """
        rows = self._bound(table)
        if table.num_rows == 0:
            return Evaluated(tuple(pa.chunked_array([], field.type) for field in self.fields))
        return self._evaluate(rows)

    def _evaluate(self, rows: pa.Table) -> Evaluated:
        import duckdb

        try:
            return Evaluated(self._columns_of(self._run(self._plain, rows)))
        except duckdb.Error as error:
            _check_alive(error)
        try:
            return self._evaluate_tried(rows)
        except duckdb.Error as error:
            _check_alive(error)
            if rows.num_rows == 1:
                return self._all_failed(error)
        half = rows.num_rows // 2
        return _joined(self._evaluate(rows.slice(0, half)), self._evaluate(rows.slice(half)), half)

    def _evaluate_tried(self, rows: pa.Table) -> Evaluated:
        result = self._run(self._tried, rows)
        failed = np.zeros(rows.num_rows, dtype=bool)
        errors: list[RowErrors] = []
        for index, item in enumerate(self._items):
            flags = _booleans(result.column(_FAILED.format(index))) & ~failed
            failed |= flags
            errors += self._explain(item, np.flatnonzero(flags), rows)
        kept = np.flatnonzero(~failed)
        survivors = result.filter(pa.array(~failed))
        return Evaluated(self._columns_of(survivors), kept, tuple(errors))

    def _explain(self, item: Computed, indices: Indices, rows: pa.Table) -> list[RowErrors]:
        """Group failed rows by message; only the first few are asked for theirs."""
        import duckdb

        groups: dict[str, list[int]] = {}
        for position, index in enumerate(indices.tolist()):
            message = _UNCLEAR
            if position < _ROWS_EXPLAINED:
                try:
                    self._run(self._plain, rows.slice(index, 1))
                except duckdb.Error as error:
                    message = describe(error)
            groups.setdefault(message, []).append(index)
        return [self._error(item, message, found) for message, found in groups.items()]

    def _error(self, item: Computed, message: str, indices: Sequence[int]) -> RowErrors:
        positions = np.array(indices, dtype=np.int64)
        return RowErrors(positions, self._stage, "SqlError", f"{item.what}: {message}")

    def _all_failed(self, error: Exception) -> Evaluated:
        nothing = tuple(pa.chunked_array([], field.type) for field in self.fields)
        failure = self._error(self._items[-1], describe(error), [0])
        return Evaluated(nothing, np.array([], dtype=np.int64), (failure,))

    def _run(self, sql: str, rows: pa.Table) -> pa.Table:
        import duckdb

        try:
            result = self._engine.query(sql, rows=_from_their_start(rows), table_name=_ROWS)
        except duckdb.OutOfMemoryException as error:  # the engine's memory is shared, too
            raise MemoryError(f"{self._items[0].what}: the SQL engine ran out of memory") from error
        if result.num_rows != rows.num_rows:
            raise JobFailed(
                Reason.ROW_COUNT_MISMATCH,
                f"{self._items[0].what}: {rows.num_rows} rows became {result.num_rows}; "
                "please report this as a bug",
            )
        return result

    def _columns_of(self, result: pa.Table) -> tuple[pa.ChunkedArray, ...]:
        return tuple(result.column(field.name).cast(field.type) for field in self.fields)

    def _bound(self, table: pa.Table) -> pa.Table:
        """Return the columns that the query reads, in types that DuckDB takes as they are."""
        names, columns = [], []
        for field in self._sources:
            names.append(field.name)
            columns.append(bindable(table.column(field.name)))
        if not columns:  # the engine must still know how many rows there are
            names, columns = ["nothing__"], [pa.array(np.zeros(table.num_rows, np.int8))]
        return pa.table(columns, names=names)

    def _query(self, *, tried: bool) -> str:
        names = [quoted(field.name) for field in self._sources]
        source = _ROWS
        indexed = list(enumerate(self._items))
        for level in _levels(self._items):
            chosen = [(index, item) for index, item in indexed if item.name in level]
            if tried:
                names, source = _tried_level(chosen, names, source)
            else:
                added = [f"({item.sql}\n) AS {quoted(item.name)}" for _, item in chosen]
                source = f"(SELECT {', '.join(names + added)} FROM {source})"
                names = names + [quoted(item.name) for _, item in chosen]
        wanted = [quoted(item.name) for item in self._items]
        if tried:
            flags = [(_TRIED.format(index), _FAILED.format(index)) for index, _ in indexed]
            wanted += [f"{tried_name} IS NULL AS {name}" for tried_name, name in flags]
        return f"SELECT {', '.join(wanted)} FROM {source}"

    def _compile(self) -> tuple[pa.Field, ...]:
        """Find the result types; constant parts are evaluated here, and may fail."""
        import duckdb

        for field in self._sources:
            require_usable(field)
        fields = (pa.field(field.name, field.type) for field in self._sources)
        empty = self._bound(pa.schema(fields).empty_table())
        try:
            described = self._engine.describe(self._plain, rows=empty, table_name=_ROWS)
            self._check_types(described)
            schema = self._engine.query(self._plain, rows=empty, table_name=_ROWS).schema
            self._check_plan(empty)
            self._check_constants()
        except duckdb.Error as error:
            _check_alive(error)
            first_line = str(error).partition("\n")[0]
            whats = ", ".join(item.what for item in self._items)
            raise InvalidJob(Reason.INVALID_SPEC, f"{whats}: {first_line}") from error
        return tuple(pa.field(field.name, result_type(field.type)) for field in schema)

    def _check_constants(self) -> None:
        """Evaluate expressions without columns once: if they fail, all rows would be rejected."""
        row = pa.table({"nothing__": pa.array([0], pa.int8())})
        for item in self._items:
            if not item.uses:
                self._engine.query(
                    f"SELECT ({item.sql}\n) FROM {_ROWS}", rows=row, table_name=_ROWS
                )

    def _check_types(self, described: Sequence[tuple[str, Any]]) -> None:
        # Of columns without a value nobody knows the type, nor that of what is computed from them.
        is_unknown = any(pt.is_null(field.type) for field in self._sources)
        for item, (_, kind) in zip(self._items, described, strict=True):
            advice = _unusable(kind)
            if advice and not (is_unknown and kind.id in _NULLS):
                raise InvalidJob(
                    Reason.INVALID_SPEC, f"{item.what}: its type {kind} cannot be used: {advice}"
                )

    def _check_plan(self, empty: pa.Table) -> None:
        """Refuse whatever is more than a computation row by row, should a check have missed it."""
        explained = self._engine.query(
            f"EXPLAIN (FORMAT JSON) {self._plain}", rows=empty, table_name=_ROWS
        )
        text = explained.column(1)[0].as_py()
        for operator in set(re.findall(r'"name": "(\w+)"', text)) - _OPERATORS:
            raise InvalidJob(
                Reason.INVALID_SPEC,
                f"{self._items[0].what}: it needs {operator}, but an expression sees one row only",
            )


def describe(error: Exception) -> str:
    """Say what went wrong in a row, without its values, which DuckDB's messages quote."""
    text = str(error)
    for pattern, message in _KNOWN_MESSAGES:
        match = pattern.search(text)
        if match:
            return message.format(*match.groups())
    kind = re.match(r"[A-Z][A-Za-z ]{2,40}Error(?=:)", text)
    return kind[0] if kind else _UNCLEAR


_TYPE = (
    "((?:U?(?:TINY|SMALL|BIG|HUGE)?INT(?:EGER)?|U?INT(?:8|16|32|64|128)|FLOAT|DOUBLE|BOOL(?:EAN)?"
    "|DATE|TIMESTAMP|TIME|UUID|BLOB|VARCHAR|DECIMAL))"
)
_KNOWN_MESSAGES = tuple(
    (re.compile(pattern), message)
    for pattern, message in (
        (rf"^Out of Range Error: Overflow in (\w+) of {_TYPE}\b", "overflow in {0} of {1}"),
        (r"^Invalid Input Error: Division by zero", "division by zero"),
        (rf"^Conversion Error: .*\bdestination type {_TYPE}\b", "a value is out of range for {0}"),
        (rf"^Conversion Error: Could not convert .* to {_TYPE}\b", "a value is no {0}"),
        (
            r"^Conversion Error: invalid (date|time|timestamp) field format",
            "a value is no {0}",
        ),
    )
)


def _tried_level(
    chosen: Sequence[tuple[int, Computed]], names: list[str], source: str
) -> tuple[list[str], str]:
    structs = [_TRIED.format(index) for index, _ in chosen]
    tries = [f"TRY({{'v': ({item.sql}\n)}}) AS {_TRIED.format(index)}" for index, item in chosen]
    inner = f"(SELECT {', '.join(names + tries)} FROM {source})"
    values = [
        f"struct_extract({_TRIED.format(index)}, 'v') AS {quoted(item.name)}"
        for index, item in chosen
    ]
    outer = f"(SELECT {', '.join(names + structs + values)} FROM {inner})"
    return names + structs + [quoted(item.name) for _, item in chosen], outer


def _levels(items: Sequence[Computed]) -> list[frozenset[str]]:
    """Group expressions so that each uses only those of groups before."""
    depth: dict[str, int] = {}
    for item in items:
        depth[item.name] = 1 + max((depth[name] for name in item.uses if name in depth), default=0)
    return [
        frozenset(name for name, level in depth.items() if level == wanted)
        for wanted in sorted(set(depth.values()))
    ]


def _from_their_start(rows: pa.Table) -> pa.Table:
    """Copy structs of structs, of which DuckDB 2.0 takes no slice that begins further on."""
    for place, field in enumerate(rows.schema):
        if pt.is_struct(field.type) and any(pt.is_struct(child.type) for child in field.type):
            chunks = [pa.concat_arrays([chunk]) for chunk in rows.column(place).chunks]
            rows = rows.set_column(place, field, pa.chunked_array(chunks, field.type))
    return rows


def _unusable(kind: Any) -> str | None:
    if kind.id in _UNUSABLE:
        return _UNUSABLE[kind.id]
    if kind.id not in ("list", "array", "struct", "map"):
        return None
    children = (child for _, child in kind.children if hasattr(child, "id"))
    return next((advice for advice in map(_unusable, children) if advice), None)


def _booleans(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    flags: np.ndarray[Any, np.dtype[np.bool_]] = column.to_numpy()
    return flags.astype(bool)


def _check_alive(error: Exception) -> None:
    import duckdb

    if isinstance(error, (duckdb.FatalException, duckdb.InternalException)):
        raise ProcessBroken(
            "the SQL engine of a scorer broke; the scorer must be restarted"
        ) from error


def _joined(first: Evaluated, second: Evaluated, rows: int) -> Evaluated:
    """Put the results of two consecutive tables together; `rows` is the length of the first."""
    columns = tuple(
        pa.chunked_array([*one.chunks, *two.chunks], one.type)
        for one, two in zip(first.columns, second.columns, strict=True)
    )
    moved = tuple(
        RowErrors(error.indices + rows, error.stage, error.error, error.message)
        for error in second.errors
    )
    kept = np.concatenate([_kept(first), _kept(second) + rows])
    return Evaluated(columns, kept, first.errors + moved)


def _kept(evaluated: Evaluated) -> Indices:
    if evaluated.kept is not None:
        return evaluated.kept
    return np.arange(len(evaluated.columns[0]), dtype=np.int64)
