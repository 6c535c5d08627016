"""How Arrow's types become those of SQL expressions, and those of their results Arrow's."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

_MOST_DIGITS = 38
"""Of a decimal in DuckDB."""


def require_usable(field: pa.Field) -> None:
    """Raise InvalidJob(SCHEMA_MISMATCH) for a column that no expression can use."""
    found = _type_without_sql(field.type)
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
    wanted = _sql_type(kind)
    return column if wanted.equals(kind) else column.cast(wanted)


def result_type(kind: pa.DataType) -> pa.DataType:
    """Replace the names that DuckDB gives to the elements of lists; what is unknown is text."""
    if pt.is_null(kind):
        return pa.string()
    if pt.is_map(kind):
        return pa.map_(result_type(kind.key_type), result_type(kind.item_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(result_type(kind.value_type), kind.list_size)
    if pt.is_list(kind):
        return pa.list_(result_type(kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([pa.field(field.name, result_type(field.type)) for field in kind])
    return kind


def _type_without_sql(kind: pa.DataType) -> pa.DataType | None:
    """Return what DuckDB does not take of a type, if there is such a part."""
    if pt.is_union(kind) or (pt.is_decimal(kind) and _digits(kind) > _MOST_DIGITS):
        return kind
    children = (kind.field(place).type for place in range(kind.num_fields))
    return next(filter(None, map(_type_without_sql, children)), None)


def _sql_type(kind: pa.DataType) -> pa.DataType:
    if pt.is_dictionary(kind):
        return kind.value_type
    if pt.is_float16(kind):
        return pa.float32()
    if pt.is_decimal(kind) and not (pt.is_decimal128(kind) and kind.scale >= 0):
        return pa.decimal128(_digits(kind), max(kind.scale, 0))
    if pt.is_map(kind):
        return pa.map_(_sql_field(kind.key_field), _sql_field(kind.item_field))
    if pt.is_fixed_size_list(kind):
        return pa.list_(_sql_field(kind.value_field), kind.list_size)
    if pt.is_list(kind):
        return pa.list_(_sql_field(kind.value_field))
    if pt.is_struct(kind):
        return pa.struct([_sql_field(field) for field in kind])
    return kind


def _sql_field(field: pa.Field) -> pa.Field:
    return field.with_type(_sql_type(field.type))


def _digits(kind: pa.DataType) -> int:
    """How many digits a decimal has in front of its point and behind it."""
    return int(kind.precision - min(kind.scale, 0))
