"""Types are walked to their innermost parts, whatever holds these."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch_inference_runner.nested_types import parts, with_leaves


def _widened(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if kind == pa.int8() else kind


@pytest.mark.parametrize(
    "holder",
    [
        lambda leaf: leaf,
        lambda leaf: pa.struct([("a", leaf), ("b", pa.string())]),
        lambda leaf: pa.map_(pa.string(), leaf),
        lambda leaf: pa.map_(leaf, pa.string()),
        pa.list_,
        lambda leaf: pa.list_(leaf, 3),
        pa.large_list,
        lambda leaf: pa.list_(pa.struct([("a", pa.map_(pa.string(), pa.list_(leaf, 2)))])),
    ],
)
def test_a_leaf_is_replaced_in_whatever_holds_it(holder):
    assert with_leaves(holder(pa.int8()), _widened) == holder(pa.int64())
    assert with_leaves(holder(pa.int16()), _widened) == holder(pa.int16())


def test_a_list_view_is_replaced_as_a_whole():
    seen = []
    assert with_leaves(pa.list_view(pa.int8()), lambda kind: seen.append(kind) or pa.null())
    assert seen == [pa.list_view(pa.int8())]


def test_elements_of_lists_get_the_name_of_arrow_and_fields_may_be_null():
    kind = pa.struct([pa.field("a", pa.list_(pa.field("l", pa.int8(), nullable=False)), False)])
    replaced = with_leaves(kind, _widened)
    assert replaced.field("a").nullable
    assert replaced.field("a").type.value_field.equals(pa.field("item", pa.int64()))


def test_parts_are_the_type_and_all_that_it_holds():
    inner = pa.list_(pa.int8())
    kind = pa.struct([("a", inner), ("b", pa.map_(pa.string(), pa.float32()))])
    found = list(parts(kind))
    assert found[0] == kind
    for part in (inner, pa.int8(), pa.string(), pa.float32()):
        assert part in found
