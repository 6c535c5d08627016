"""Hive partition columns: their types, and their values as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_runner.plan.plan import InputFile

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_INT64_MAX = 2**63 - 1


def partition_schema(files: Sequence[InputFile]) -> pa.Schema:
    """Type the partition columns: int64 if every value of the key is an integer, else string.

    The files are listed together, so they have the same keys.
    """
    values: dict[str, set[str]] = {}
    for file in files:
        for key, value in file.partition_values:
            values.setdefault(key, set()).add(value)
    return pa.schema([pa.field(key, _type_of(found)) for key, found in values.items()])


def _type_of(values: set[str]) -> pa.DataType:
    present = values - {NULL_PARTITION}
    whole = bool(present) and all(_is_int64(value) for value in present)
    return pa.int64() if whole else pa.string()


def _is_int64(value: str) -> bool:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        return False
    # a leading zero is a code ("007"), not a number: it would not survive the round trip
    return str(int(digits)) == digits and value != "-0" and int(digits) <= _INT64_MAX


def partition_column(value: str, kind: pa.DataType, rows: int) -> pa.ChunkedArray:
    """Repeat a partition's value `rows` times as a column of type `kind`."""
    if value == NULL_PARTITION:
        return pa.chunked_array([pa.nulls(rows, kind)], type=kind)
    scalar = pa.scalar(value).cast(kind)
    return pa.chunked_array([pa.repeat(scalar, rows)], type=kind)


def refuse_shadowed(files_schema: pa.Schema, partitions: pa.Schema) -> None:
    """Raise InvalidJob(AMBIGUOUS_COLUMN) when a partition key is also a column of the files."""
    columns = {name.casefold(): name for name in files_schema.names}
    for key in partitions.names:
        column = columns.get(key.casefold())
        if column is not None:
            raise InvalidJob(
                Reason.AMBIGUOUS_COLUMN,
                f"{key!r} is a partition folder and column {column!r} of the files; "
                "rename one of the two",
            )
