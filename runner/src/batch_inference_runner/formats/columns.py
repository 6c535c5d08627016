"""Which column a name means, and how it takes the type that was planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_runner.formats.partitions import partition_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ColumnPath:
    """A column that was asked for: `root` is the file's column, `leaf` the fields below it."""

    name: str
    root: str
    leaf: tuple[str, ...]
    type: pa.DataType


def find_column(schema: pa.Schema, name: str) -> ColumnPath | None:
    """Find the column called `name`: an exact match first, else `a.b` as field b of struct a.

    Returns None when there is neither.
    """
    found = _descend(schema, name)
    if found is None:
        return None
    path, kind = found
    return ColumnPath(name=name, root=path[0], leaf=path[1:], type=kind)


def _descend(
    fields: pa.Schema | pa.StructType, name: str
) -> tuple[tuple[str, ...], pa.DataType] | None:
    # Names are looked up, never searched for: schemas have thousands of columns.
    index = fields.get_field_index(name)
    if index >= 0:
        return (name,), fields.field(index).type
    for dot in (place for place, letter in enumerate(name) if letter == "."):
        index = fields.get_field_index(name[:dot])
        if index < 0 or not pa.types.is_struct(fields.field(index).type):
            continue
        rest = _descend(fields.field(index).type, name[dot + 1 :])
        if rest is not None:
            return (name[:dot], *rest[0]), rest[1]
    return None


def find_columns(schema: pa.Schema, names: Sequence[str]) -> tuple[ColumnPath, ...]:
    """Find every name of `names`, in order. Raises KeyError for one that is not there."""
    found = []
    for name in names:
        path = find_column(schema, name)
        if path is None:
            raise KeyError(name)
        found.append(path)
    return tuple(found)


def take_columns(
    table: pa.Table, paths: Sequence[ColumnPath], partitions: Mapping[str, str]
) -> pa.Table:
    """Pick `paths` out of a file's table, in their order and with their planned types.

    A column that is in `partitions` (key to value) is that value in every row. Raises
    pyarrow.ArrowInvalid when a value does not fit the planned type.
    """
    columns = []
    for path in paths:
        if path.root in partitions:
            columns.append(partition_column(partitions[path.root], path.type, table.num_rows))
            continue
        column = table.column(path.root)
        for field in path.leaf:
            column = _struct_field(_storage(column), field)
        columns.append(as_type(column, path.type))
    if not columns:
        return table.select([])  # which keeps the number of rows
    return pa.table(columns, names=[path.name for path in paths])


def empty_table(columns: Sequence[ColumnPath]) -> pa.Table:
    """A table of no rows with the requested columns."""
    return pa.schema([pa.field(path.name, path.type) for path in columns]).empty_table()


def as_type(column: pa.ChunkedArray, planned: pa.DataType) -> pa.ChunkedArray:
    """Give `column` the planned type: decode dictionaries, drop extensions, widen numbers."""
    if column.type.equals(planned):
        return column
    column = _storage(column)
    if pa.types.is_run_end_encoded(column.type):
        column = _run_end_decoded(column)
    return column if column.type.equals(planned) else column.cast(planned, safe=True)


# pyarrow.compute takes 40 ms to import, which most jobs never need.


def _struct_field(column: pa.ChunkedArray, field: str) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.struct_field(column, field)


def _run_end_decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.run_end_decode(column)


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    kind = column.type.storage_type
    return pa.chunked_array([chunk.storage for chunk in column.chunks], type=kind)
