"""What an expression may consist of: a closed list of syntax, pure scalar functions, known columns.

The text is judged by DuckDB's own syntax tree, not by patterns, and anything that is not on the
list is refused: subqueries, aggregates, windows, parameters, functions that read the clock.
"""

# ruff: noqa: S608 - these statements are parsed, never run

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batch_inference_runner.transforms.sql import SqlEngine

_LONGEST_TEXT = 16 * 1024
_CLASSES = frozenset(
    {
        *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION"),
        *("CONSTANT", "FUNCTION", "LAMBDA", "OPERATOR", "TYPE"),
    }
)
_REFUSED_OPERATORS = frozenset({"GROUPING_FUNCTION", "OPERATOR_UNPACK"})
_SOURCE = "source_rows"
# Every key of a SELECT that would make it more than one expression over one table.
_EMPTY_CLAUSES = ("where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")
_REFUSED_SYNTAX = {
    "SUBQUERY": "it contains a subquery",
    "WINDOW": "it contains a window function, but an expression sees one row only",
    "STAR": "it contains '*' or COLUMNS(); name the columns",
    "PARAMETER": "it contains a parameter",
    "DEFAULT": "it contains DEFAULT",
    "POSITIONAL_REFERENCE": "it refers to a column by position; name the column",
}


def find_columns(
    expression: str, *, engine: SqlEngine, columns: Collection[str], what: str
) -> frozenset[str]:
    """Check an expression and return which of `columns` it uses.

    `what` names the expression in messages. Raises InvalidJob: InvalidSpec for what is not
    allowed, SchemaMismatch for unknown columns, AmbiguousColumn where two differ only by case.
    """
    try:
        tree = _single_expression(expression, engine, what)
        used = frozenset(
            _resolve(name, columns, what) for name in _references(tree, engine, what, frozenset())
        )
    except RecursionError as error:
        raise _refused(what, "it is nested too deeply") from error
    return used


def _single_expression(expression: str, engine: SqlEngine, what: str) -> dict[str, Any]:
    if len(expression) > _LONGEST_TEXT:
        raise _refused(what, f"it is longer than {_LONGEST_TEXT} characters")
    if not expression.strip():
        raise _refused(what, "it is empty")
    # Once in parentheses as it will be used, and once bare: text that closes the parenthesis and
    # opens another one passes only the first.
    bare = _parse(f"SELECT {expression}\n FROM {_SOURCE}", engine, what)
    _parse(f"SELECT ({expression}\n) FROM {_SOURCE}", engine, what)
    if bare.get("alias"):
        raise _refused(what, "it names its result; use the field 'name' for that")
    return bare


def _parse(statement: str, engine: SqlEngine, what: str) -> dict[str, Any]:
    document = engine.parse(statement)
    if document.get("error"):
        message = str(document.get("error_message", "")).partition("\n")[0]
        if message.endswith('near "FROM"'):  # ours, most likely
            message = "it is no complete expression; write it alone, without WHERE or SELECT"
        raise _refused(what, f"it is not SQL that DuckDB understands: {message}")
    statements = document["statements"]
    node = statements[0]["node"]
    source = node.get("from_table") or {}
    if (
        len(statements) != 1
        or node["type"] != "SELECT_NODE"
        or len(node["select_list"]) != 1
        or source.get("type") != "BASE_TABLE"
        or source.get("table_name") != _SOURCE
        or any(source.get(key) for key in ("sample", "alias", "at_clause", "column_name_alias"))
        or any(node.get(clause) for clause in _EMPTY_CLAUSES)
        or any(node["modifiers"])
        or node["cte_map"]["map"]
    ):
        raise _refused(what, "it must be one expression, not a query")
    expression: dict[str, Any] = node["select_list"][0]
    return expression


def _references(node: Any, engine: SqlEngine, what: str, bound: frozenset[str]) -> Iterator[str]:
    """Yield the names of columns below a node; `bound` are the parameters of lambdas around it."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item, engine, what, bound)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None:
        _check_node(node, engine, what)
    if kind == "COLUMN_REF":
        name = node["column_names"][0]
        if name.lower() not in bound:
            yield name
        return
    if kind == "LAMBDA" and node.get("syntax_type") == "LAMBDA_KEYWORD":
        yield from _references(node["expr"], engine, what, bound | _parameters(node["lhs"]))
        return
    for child in node.values():
        yield from _references(child, engine, what, bound)


def _parameters(node: dict[str, Any]) -> frozenset[str]:
    if node["class"] == "COLUMN_REF":
        return frozenset({node["column_names"][0].lower()})
    names: frozenset[str] = frozenset()
    return names.union(*(_parameters(item["expression"]) for item in node["arguments"]))


def _check_node(node: dict[str, Any], engine: SqlEngine, what: str) -> None:
    kind = node["class"]
    if kind not in _CLASSES:
        raise _refused(what, _REFUSED_SYNTAX.get(kind, f"it contains {kind}"))
    if kind == "OPERATOR" and node["type"] in _REFUSED_OPERATORS:
        raise _refused(what, f"it contains {node['type']}")
    if kind == "FUNCTION":
        _check_function(node, engine, what)


def _check_function(node: dict[str, Any], engine: SqlEngine, what: str) -> None:
    name = node["function_name"]
    if node.get("schema") or node.get("catalog"):
        raise _refused(what, f"call {name!r} as {name}(...), without a prefix")
    if node.get("filter") or node.get("distinct") or node["order_bys"]["orders"]:
        raise _refused(what, f"{name!r} is used as an aggregate, but an expression sees one row")
    if name.lower() not in engine.functions:
        raise _refused(
            what,
            f"the function {name!r} is not available: expressions may call scalar functions whose "
            "result depends on their arguments only",
        )


def _resolve(name: str, columns: Collection[str], what: str) -> str:
    """Find the column that DuckDB means, which does not look at case."""
    matching = [column for column in columns if column.lower() == name.lower()]
    if len(matching) > 1:
        raise InvalidJob(
            Reason.AMBIGUOUS_COLUMN,
            f"{what}: {name!r} may mean {' or '.join(map(repr, matching))}, because SQL names do "
            "not differ by case: rename one of the columns",
        )
    if matching:
        return matching[0]
    near = difflib.get_close_matches(name, list(columns), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {_shown(columns)}"
    raise InvalidJob(Reason.SCHEMA_MISMATCH, f"{what}: there is no column {name!r}; {hint}")


def _shown(columns: Collection[str]) -> str:
    names = sorted(columns)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(map(repr, names[:20])) or "no columns") + more


def _refused(what: str, why: str) -> InvalidJob:
    return InvalidJob(Reason.INVALID_SPEC, f"{what}: {why}")
