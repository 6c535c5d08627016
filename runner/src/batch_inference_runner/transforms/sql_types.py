"""How Arrow's types become those of SQL expressions, and those of their results Arrow's."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.nested_types import parts, with_leaves

_MOST_DIGITS = 38
"""Of a decimal in DuckDB."""


def require_usable(field: pa.Field) -> None:
    """Raise InvalidJob(SCHEMA_MISMATCH) for a column that no expression can use."""
    found = next(filter(_lacks_sql, parts(field.type)), None)
    if found is not None:
        raise InvalidJob(
            Reason.SCHEMA_MISMATCH,
            f"column {field.name!r} is {field.type}, and {found} cannot be used in SQL "
            "expressions: leave the column out of them, or write the files with another type",
        )


def bindable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a column a type that DuckDB takes, with the same values."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return bindable(pa.chunked_array([c.storage for c in column.chunks], kind.storage_type))
    wanted = with_leaves(kind, _sql_type)
    return column if wanted.equals(kind) else column.cast(wanted)


def result_type(kind: pa.DataType) -> pa.DataType:
    """Replace the names that DuckDB gives to the elements of lists; what is unknown is text."""
    return with_leaves(kind, lambda leaf: pa.string() if pt.is_null(leaf) else leaf)


def _lacks_sql(kind: pa.DataType) -> bool:
    return bool(pt.is_union(kind) or (pt.is_decimal(kind) and _digits(kind) > _MOST_DIGITS))


def _sql_type(kind: pa.DataType) -> pa.DataType:
    if pt.is_dictionary(kind):
        return kind.value_type
    if pt.is_float16(kind):
        return pa.float32()
    if pt.is_decimal(kind) and not (pt.is_decimal128(kind) and kind.scale >= 0):
        return pa.decimal128(_digits(kind), max(kind.scale, 0))
    return kind


def _digits(kind: pa.DataType) -> int:
    """How many digits a decimal has in front of its point and behind it."""
    return int(kind.precision - min(kind.scale, 0))
