"""Columns are handed on in plain types, with every value, wherever an array begins."""

from __future__ import annotations

from math import prod

import pyarrow as pa
import pytest

from batch_inference_runner.errors import InvalidJob, JobFailed
from batch_inference_runner.formats.columns import (
    ColumnPath,
    as_type,
    refuse_without_arrays,
    take_columns,
    with_floats,
)
from batch_inference_runner.formats.schemas import plain_type

LISTS = [[1, 2], None, [3], [], [4, 5]]
VIEW = pa.list_view(pa.int64())
RUNS = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 5], pa.int32()), pa.array([7, None, 8]))
MASK = pa.array([False, True, False, False, False])
COLUMNS = {
    "list views": pa.array(LISTS, VIEW),
    "large list views": pa.array(LISTS, pa.large_list_view(pa.int64())),
    "lists of list views": pa.array([[[1], [2, 3]], None, [None, [4]], []], pa.list_(VIEW)),
    "lists of string views": pa.array([["a", None], None, ["b"]], pa.list_(pa.string_view())),
    "fixed-size lists of list views": pa.FixedSizeListArray.from_arrays(
        pa.array([[1], [2], [3], [4], None, [6]], VIEW), 2, mask=pa.array([False, True, False])
    ),
    "structs of list views": pa.array(
        [{"x": [1], "y": "q"}, None, {"x": None, "y": None}, {"x": [2, 3], "y": "z"}],
        pa.struct([("x", VIEW), ("y", pa.string_view())]),
    ),
    "run ends": RUNS,
    "structs of run ends": pa.StructArray.from_arrays([RUNS, RUNS], ["x", "y"], mask=MASK),
    "lists of run ends": pa.ListArray.from_arrays(pa.array([0, 2, 2, 3, 5]), RUNS, mask=MASK[:4]),
    "fixed-size lists of run ends": pa.FixedSizeListArray.from_arrays(RUNS.slice(1), 2),
    "run ends of dictionaries": pa.RunEndEncodedArray.from_arrays(
        pa.array([1, 4], pa.int16()), pa.array(["a", None]).dictionary_encode()
    ),
    "run ends of lists of string views": pa.RunEndEncodedArray.from_arrays(
        pa.array([2, 3], pa.int64()), pa.array([["a"], ["b", None]], pa.list_(pa.string_view()))
    ),
    "dictionaries of string views": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 0]), pa.array(["a", "b"], pa.string_view())
    ),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_views_and_run_ends_become_plain_values(column):
    planned = plain_type(column.type)
    for array in (column, column.slice(1), column.slice(1, 2), column.slice(0, 0)):
        found = as_type(pa.chunked_array([array]), planned)
        found.validate(full=True)
        assert found.type == planned
        assert found.to_pylist() == array.to_pylist()


def test_a_type_that_cannot_be_converted_is_no_damage():
    table = pa.table({"x": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    path = ColumnPath("x", "x", (), pa.int64())
    with pytest.raises(JobFailed, match="'x' is map"):
        take_columns(table, [path], {})


def tensors(shape: list[int], **options) -> pa.ExtensionArray:
    """Three tensors, of which the second is null."""
    values = pa.array(range(3 * prod(shape)), pa.uint8())
    storage = pa.FixedSizeListArray.from_arrays(values, prod(shape), mask=MASK[:3])
    return pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.uint8(), shape, **options), storage
    )


@pytest.mark.parametrize(
    ("shape", "permutation"), [([2, 3], None), ([2, 3, 4], [0, 1, 2]), ([3], [0]), ([1], None)]
)
@pytest.mark.parametrize("begins", [0, 1, 2, 3])
def test_tensors_become_lists_of_their_shape(shape, permutation, begins):
    array = tensors(shape, permutation=permutation).slice(begins)
    column = as_type(pa.chunked_array([array]), plain_type(array.type))
    column.validate(full=True)
    assert column.type == plain_type(array.type)
    assert column.to_pylist() == [
        tensor.to_numpy().tolist() if tensor.is_valid else None for tensor in array
    ]


FIRST, LAST = [[0], [1]], [[4], [5]]
WITH_TENSORS = {
    "structs": (
        pa.StructArray.from_arrays([tensors([2, 1])], ["t"], mask=MASK[:3]),
        [{"t": FIRST}, None, {"t": LAST}],
    ),
    "lists": (
        pa.ListArray.from_arrays(pa.array([0, 2, 2, 3]), tensors([2, 1])),
        [[FIRST, None], [], [LAST]],
    ),
}


@pytest.mark.parametrize(("array", "rows"), WITH_TENSORS.values(), ids=WITH_TENSORS)
@pytest.mark.parametrize("begins", [0, 1, 2, 3])
def test_tensors_inside_of_other_types_become_lists(array, rows, begins):
    column = as_type(pa.chunked_array([array.slice(begins)]), plain_type(array.type))
    column.validate(full=True)
    assert column.type == plain_type(array.type)
    assert column.to_pylist() == rows[begins:]


@pytest.mark.parametrize(("shape", "permutation"), [([2, 3], [1, 0]), ([2, 0], None), ([0], None)])
def test_tensors_that_no_lists_can_hold_are_refused(shape, permutation):
    plain = plain_type(pa.fixed_shape_tensor(pa.uint8(), shape, permutation=permutation))
    with pytest.raises(InvalidJob, match=r"'x' is extension<.*>, which cannot be read"):
        refuse_without_arrays([ColumnPath("x", "x", (), plain)])


def test_a_tensor_without_dimensions_is_a_list_of_one():
    kind = pa.fixed_shape_tensor(pa.uint8(), [])
    array = pa.ExtensionArray.from_storage(kind, pa.array([[7], None], pa.list_(pa.uint8(), 1)))
    assert as_type(pa.chunked_array([array]), plain_type(kind)).to_pylist() == [[7], None]


def test_tensors_widen_as_other_columns_do():
    column = pa.chunked_array([tensors([2, 1])])
    wider = as_type(column, pa.list_(pa.list_(pa.float32(), 1), 2))
    assert wider.to_pylist() == [[[0.0], [1.0]], None, [[4.0], [5.0]]]
    assert as_type(pa.chunked_array([], column.type), plain_type(column.type)).to_pylist() == []


def test_whole_numbers_become_floats_in_the_named_columns_only():
    struct = pa.struct({"a": pa.int64(), "b": pa.int64()})
    schema = pa.schema({"x": pa.int64(), "y": pa.int64(), "of": struct, "t": pa.string()})
    assert with_floats(schema, ["of.b", "x", "t"]) == pa.schema(
        {
            "x": pa.float64(),
            "y": pa.int64(),
            "of": pa.struct({"a": pa.int64(), "b": pa.float64()}),
            "t": pa.string(),
        }
    )


def test_thousands_of_columns_are_made_a_schema_of_once(monkeypatch):
    schema = pa.schema({f"c{place}": pa.int64() for place in range(4000)})
    made = []
    build = pa.schema
    monkeypatch.setattr(pa, "schema", lambda fields: made.append(fields) or build(fields))
    assert set(with_floats(schema, schema.names).types) == {pa.float64()}
    assert len(made) == 1
