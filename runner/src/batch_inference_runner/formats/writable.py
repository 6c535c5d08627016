"""Which columns an output format can hold."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAVE_OUT = "leave the column out of output.passthroughFields"


def check_writable(
    schema: pa.Schema, data_format: DataFormat, *, partition_by: Sequence[str] = ()
) -> None:
    """Refuse a schema that the format cannot hold, naming the column and what to do instead.

    Raises InvalidJob: SchemaMismatch for types and missing partition columns, AmbiguousColumn for
    a name that occurs twice.
    """
    for name, times in Counter(schema.names).items():
        if times > 1:
            raise InvalidJob(
                Reason.AMBIGUOUS_COLUMN, f"the output would have two columns named {name!r}"
            )
    _check_partition_columns(schema, partition_by)
    for field in schema:
        problem = None if field.name in partition_by else _problem(field.type, data_format)
        if problem:
            raise _refused(field, f"cannot be written as {data_format.value}: {problem}")


def _check_partition_columns(schema: pa.Schema, partition_by: Sequence[str]) -> None:
    for name in partition_by:
        if name not in schema.names:
            raise InvalidJob(
                Reason.SCHEMA_MISMATCH,
                f"output.partitionBy names {name!r}, which is not a column of the output; add it "
                f"to output.passthroughFields or compute it in spec.postprocessing; columns are "
                f"{', '.join(map(repr, schema.names))}",
            )
        field = schema.field(name)
        if not _names_folders(field.type):
            raise _refused(
                field, "cannot name folders: partition by strings, integers, booleans or dates"
            )
        if name.startswith("."):
            raise _refused(
                field,
                "cannot name folders, which readers would take for hidden ones: give it a name "
                "without a dot in front, in spec.preprocessing or spec.postprocessing",
            )
    if partition_by and len(set(partition_by)) == len(schema.names):
        raise InvalidJob(
            Reason.INVALID_SPEC,
            "output.partitionBy names every output column, so files would have none",
        )


def _names_folders(kind: pa.DataType) -> bool:
    kind = kind.value_type if pt.is_dictionary(kind) else kind
    checks = (pt.is_integer, pt.is_boolean, pt.is_date, pt.is_null, is_string)
    return any(check(kind) for check in checks)


def is_string(kind: pa.DataType) -> bool:
    """Whether values of a type are text, in whichever of Arrow's layouts."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _problem(kind: pa.DataType, data_format: DataFormat) -> str | None:
    if pt.is_dictionary(kind):
        return _problem(kind.value_type, data_format)
    if not data_format.is_text:
        return _binary_problem(kind, data_format)
    if pt.is_nested(kind):
        return _nested_problem(kind, data_format)
    if _is_binary(kind):
        return "it holds bytes; encode it in postprocessing, for example base64(column)"
    if pt.is_duration(kind) or pt.is_interval(kind):
        return "it is a duration; convert it to a number of seconds"
    return None


def _binary_problem(kind: pa.DataType, data_format: DataFormat) -> str | None:
    if pt.is_interval(kind) or pt.is_union(kind) or pt.is_run_end_encoded(kind):
        return f"the type {kind} is not supported; {_LEAVE_OUT}"
    return _parquet_problem(kind) if data_format is DataFormat.PARQUET else None


def _parquet_problem(kind: pa.DataType) -> str | None:
    if pt.is_struct(kind) and kind.num_fields == 0:
        return f"Parquet has no structs without fields; write Arrow or JSONLines, or {_LEAVE_OUT}"
    if pt.is_fixed_size_binary(kind) and kind.byte_width == 0:
        return f"Parquet has no binary values of length 0; write Arrow, or {_LEAVE_OUT}"
    if pt.is_decimal(kind) and kind.scale < 0:
        return f"Parquet has no decimals of a negative scale; cast it, or {_LEAVE_OUT}"
    children = (kind.field(place).type for place in range(kind.num_fields))
    problems = (_problem(child, DataFormat.PARQUET) for child in children)
    return next((problem for problem in problems if problem), None)


def _is_binary(kind: pa.DataType) -> bool:
    checks = (pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary, pt.is_binary_view)
    return any(check(kind) for check in checks)


def _nested_problem(kind: pa.DataType, data_format: DataFormat) -> str | None:
    if data_format is DataFormat.CSV:
        return "CSV has no lists or structs; write Parquet or JSONLines, or select elements"
    if pt.is_map(kind):
        if not is_string(kind.key_type):
            return "only maps whose keys are strings become JSON objects"
        return _problem(kind.item_type, data_format)
    if pt.is_struct(kind):
        problems = (_problem(field.type, data_format) for field in kind)
        return next((problem for problem in problems if problem), None)
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return _problem(kind.value_type, data_format)
    return f"the type {kind} is not supported"


def _refused(field: pa.Field, why: str) -> InvalidJob:
    return InvalidJob(Reason.SCHEMA_MISMATCH, f"column {field.name!r} ({field.type}) {why}")
