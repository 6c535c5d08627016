"""Columns of tensors of one shape, Arrow's `fixed_shape_tensor`: their rows become nested lists.

Their storage is one flat list, in which a model would find any shape of as many values. Tensors
whose dimensions are permuted are not read: what that means is told differently by Arrow's
specification, by its conversion to NumPy, and by that from NumPy (PyArrow 26). Nor are tensors
without a value.
https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor
"""

from __future__ import annotations

import pyarrow as pa


def is_tensor(kind: pa.DataType) -> bool:
    """Say whether values of a type are tensors of one shape."""
    return isinstance(kind, pa.FixedShapeTensorType)


def lacks_lists(kind: pa.DataType) -> bool:
    """Say whether a type is of tensors that are permuted, or have a dimension of length 0."""
    if not is_tensor(kind):
        return False
    order = list(kind.permutation or ())
    return order != sorted(order) or 0 in kind.shape


def nested_type(tensor: pa.FixedShapeTensorType, element: pa.DataType) -> pa.DataType:
    """The type of nested fixed-size lists of a tensor's shape, down to its elements."""
    kind = element
    for size in reversed(_shape(tensor)):
        kind = pa.list_(kind, size)
    return kind


def nested_lists(array: pa.FixedShapeTensorArray) -> pa.FixedSizeListArray:
    """Give tensors, each of which is a row, as nested lists of their shape."""
    storage = array.storage
    size = storage.type.list_size
    lists = storage.values.slice(storage.offset * size, len(storage) * size)
    first, *inner = _shape(array.type)
    for length in reversed(inner):
        lists = pa.FixedSizeListArray.from_arrays(lists, length)
    return pa.FixedSizeListArray.from_arrays(lists, first, mask=storage.is_null())


def _shape(tensor: pa.FixedShapeTensorType) -> list[int]:
    """A tensor without dimensions is a list of one value."""
    return tensor.shape or [1]
