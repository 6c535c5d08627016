"""Which column a name means, and how it takes the type that was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed
from batch_inference_runner.formats.partitions import partition_column
from batch_inference_runner.formats.schemas import plain_type
from batch_inference_runner.formats.tensors import is_tensor, lacks_lists, nested_lists
from batch_inference_runner.nested_types import parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# Arrow's C++ reads these, but of their values pyarrow makes no array.
_WITHOUT_ARRAYS = (pa.lib.Type_INTERVAL_MONTHS, pa.lib.Type_INTERVAL_DAY_TIME)


class ColumnPath(NamedTuple):
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


def find_columns(schema: pa.Schema, names: Iterable[str]) -> tuple[ColumnPath, ...]:
    """Find every name of `names`, in order. Raises KeyError for one that is not there."""
    found = []
    for name in names:
        path = find_column(schema, name)
        if path is None:
            raise KeyError(name)
        found.append(path)
    return tuple(found)


def refuse_without_arrays(columns: Iterable[ColumnPath]) -> None:
    """Raise InvalidJob(SCHEMA_MISMATCH) for a column of a type that cannot be read."""
    for path in columns:
        if any(part.id in _WITHOUT_ARRAYS or lacks_lists(part) for part in parts(path.type)):
            raise InvalidJob(
                Reason.SCHEMA_MISMATCH,
                f"column {path.name!r} is {path.type}, which cannot be read: leave it out of the "
                "job, or write the files with another type",
            )


def with_floats(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Make float64 of the whole numbers in these columns, in lists as well."""
    types = {field.name: field.type for field in schema}
    for path in find_columns(schema, names):
        types[path.root] = _floated(types[path.root], path.leaf)
    return pa.schema(types)  # once: each schema copies all fields, of which there may be thousands


def _floated(kind: pa.DataType, leaf: Sequence[str]) -> pa.DataType:
    if leaf:
        fields = list(kind)
        index = kind.get_field_index(leaf[0])
        fields[index] = fields[index].with_type(_floated(fields[index].type, leaf[1:]))
        return pa.struct(fields)
    if pa.types.is_list(kind):
        return pa.list_(_floated(kind.value_type, ()))
    return pa.float64() if pa.types.is_integer(kind) else kind


def take_columns(
    table: pa.Table, paths: Sequence[ColumnPath], partitions: Mapping[str, str]
) -> pa.Table:
    """Pick `paths` out of a file's table, in their order and with their planned types.

    A column that is in `partitions` (key to value) is that value in every row. Raises
    pyarrow.ArrowInvalid when a value does not fit the planned type, JobFailed when no value of the
    file's type can become one: that is no damage, for which rows would be rejected.
    """
    columns = []
    for path in paths:
        if path.root in partitions:
            columns.append(partition_column(partitions[path.root], path.type, table.num_rows))
            continue
        column = table.column(path.root)
        for field in path.leaf:
            column = _struct_field(_storage(column), field)
        try:
            columns.append(as_type(column, path.type))
        except pa.ArrowNotImplementedError as error:
            raise JobFailed(
                Reason.SCHEMA_MISMATCH,
                f"column {path.name!r} is {column.type}, which cannot be read as {path.type}: "
                "leave it out of the job, or write the files with another type",
            ) from error
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
    if any(map(_is_uncastable, parts(column.type))):
        chunks = [_castable(chunk) for chunk in column.chunks]
        column = pa.chunked_array(chunks) if chunks else pa.chunked_array([], planned)
    return column if column.type.equals(planned) else column.cast(planned, safe=True)


def _is_uncastable(kind: pa.DataType) -> bool:
    """Tell whether a type is a list view, a dictionary of views, run-end encoded, or a tensor."""
    types = pa.types
    if is_tensor(kind):
        return True
    if types.is_dictionary(kind):
        return bool(types.is_string_view(kind.value_type) or types.is_binary_view(kind.value_type))
    return _is_list_view(kind) or bool(types.is_run_end_encoded(kind))


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


# pyarrow.compute takes 40 ms to import, which most jobs never need.


def _struct_field(column: pa.ChunkedArray, field: str) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.struct_field(column, field)


def _castable(array: pa.Array) -> pa.Array:
    """Copy views, run-end encodings and tensors into what can be cast.

    `cast` itself makes lists of list views whose offsets lack their end (pyarrow 26), and knows no
    dictionaries of views, nor run-end encodings inside of other types.
    """
    types, kind = pa.types, array.type
    if is_tensor(kind):
        return nested_lists(array)
    if types.is_run_end_encoded(kind):
        return _run_end_decoded(array)
    if types.is_dictionary(kind):
        return array.dictionary.cast(plain_type(kind.value_type)).take(array.indices)
    if types.is_struct(kind):
        fields = [_castable(array.field(place)) for place in range(kind.num_fields)]
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(fields, names=names, mask=array.is_null())
    if types.is_fixed_size_list(kind):
        size = kind.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        return pa.FixedSizeListArray.from_arrays(_castable(values), size, mask=array.is_null())
    if _is_list_view(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _list_of(array)
    return array


def _run_end_decoded(array: pa.RunEndEncodedArray) -> pa.Array:
    """Decode any values; `run_end_decode` does without dictionaries, views and extensions."""
    values = as_type(pa.chunked_array([array.values]), plain_type(array.type.value_type))
    places = np.arange(array.offset, array.offset + len(array))
    runs = np.searchsorted(array.run_ends.to_numpy(), places, side="right")
    return values.combine_chunks().take(pa.array(runs))


def _list_of(array: pa.Array) -> pa.ListArray:
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
    ends = pc.cumulative_sum(lengths).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    values = _castable(array.flatten())  # of the lists in order, without those of null ones
    return pa.ListArray.from_arrays(offsets, values, mask=array.is_null())


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType) or is_tensor(column.type):
        return column
    kind = column.type.storage_type
    return pa.chunked_array([chunk.storage for chunk in column.chunks], type=kind)
