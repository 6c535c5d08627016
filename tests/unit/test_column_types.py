"""Columns are handed on in plain types, with every value, wherever an array begins."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch_inference_runner.formats.columns import as_type
from batch_inference_runner.formats.schemas import plain_type

LISTS = [[1, 2], None, [3], [], [4, 5]]
VIEW = pa.list_view(pa.int64())
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
    "dictionaries of string views": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 0]), pa.array(["a", "b"], pa.string_view())
    ),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_views_become_plain_lists_and_strings(column):
    planned = plain_type(column.type)
    for array in (column, column.slice(1), column.slice(1, 2), column.slice(0, 0)):
        found = as_type(pa.chunked_array([array]), planned)
        found.validate(full=True)
        assert found.type == planned
        assert found.to_pylist() == array.to_pylist()
