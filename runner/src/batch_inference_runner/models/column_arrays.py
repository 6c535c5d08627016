"""Arrow columns as numpy arrays of a model's element type, and the rows that do not fit.

Everything goes through Arrow's buffers: pyarrow's `to_numpy` and `array` import pandas wherever it
is installed, which costs a quarter of a second.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from batch_inference_runner.models.signature import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]


class Problems:
    """Which of so many rows cannot be fed; a row keeps the first problem that was found."""

    def __init__(self, rows: int) -> None:
        self.found: list[tuple[Mask, str, str]] = []
        self.bad: Mask | None = None
        self._rows = rows

    def add(self, mask: Mask, error: str, message: str) -> None:
        """Claim the rows of `mask` that have no problem yet."""
        if self.bad is None:
            self.bad = np.zeros(self._rows, dtype=np.bool_)
        mask = mask & ~self.bad
        if mask.any():
            self.found.append((mask, error, message))
            self.bad |= mask


def combined(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the column as one array; copies only where there are several chunks."""
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            return column.chunk(0)
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # no chunks, or too long for 32-bit offsets
            column = pa.concat_arrays(column.chunks) if column.num_chunks else column.chunk(0)
    return column


def null_mask(array: pa.Array) -> Mask | None:
    """Return where `array` is null, or None if it is nowhere."""
    if array.null_count == 0:
        return None
    return ~bits(array.is_valid())


def bits(array: pa.BooleanArray) -> Mask:
    """Return a boolean array's values, one byte each."""
    data = np.frombuffer(array.buffers()[1], dtype=np.uint8)
    first = array.offset // 8
    last = (array.offset + len(array) + 7) // 8
    start = array.offset - first * 8
    unpacked = np.unpackbits(data[first:last], bitorder="little")
    return unpacked[start : start + len(array)].view(np.bool_)


def scalar_values(
    column: pa.ChunkedArray | pa.Array, *, name: str, element: str, fill: Any, problems: Problems
) -> npt.NDArray[Any]:
    """Return a scalar column of n rows as [n] of the element's dtype.

    Rows that are null (unless `fill` is given) or do not fit the element's range are added to
    `problems`; their values are arbitrary. Zero-copy for null-free primitives of the same type.
    """
    array = _decoded(combined(column))
    if not len(array):
        return np.empty(0, dtype=DTYPES[element])
    nulls = null_mask(array)
    if nulls is not None and fill is None:
        problems.add(nulls, "NullInput", f"column {name!r} is null")
    values = _strings(array) if element == "string" else _primitives(array, element)
    values, wrong = _cast(values, element)
    if wrong is not None:
        wrong = wrong if nulls is None else np.asarray(wrong & ~nulls)
        kind = "Overflow" if DTYPES[element].kind == "f" else "OutOfRange"
        if wrong.any():
            problems.add(wrong, kind, f"column {name!r} holds a value beyond the model's {element}")
    if nulls is not None:
        values = values if values.flags.owndata else values.copy()
        values[nulls] = _empty(element) if fill is None else fill
    return values


def list_values(
    column: pa.ChunkedArray | pa.Array,
    trailing: Sequence[int],
    *,
    name: str,
    element: str,
    fill: Any,
    problems: Problems,
) -> npt.NDArray[Any]:
    """Return a list column of n rows as [n, *trailing], C-contiguous.

    Rows that are null, of the wrong length or hold a null are added to `problems`; `fill` replaces
    null elements, never a null list.
    """
    array = combined(column)
    rows = len(array)
    levels = _levels(array.type)
    sizes = tuple(trailing) if levels == len(trailing) else (math.prod(trailing),)
    lost = np.zeros(rows, dtype=np.bool_)
    short = np.zeros(rows, dtype=np.bool_)
    for size in sizes:
        nulls = null_mask(array)
        array, wrong = _flattened(array, size, nulls)
        per_row = len(wrong) // max(rows, 1)
        unclaimed = ~(lost | short)
        if nulls is not None:
            lost |= nulls.reshape(rows, per_row).any(axis=1) & unclaimed
        short |= wrong.reshape(rows, per_row).any(axis=1) & unclaimed & ~lost
    if lost.any():
        problems.add(lost, "NullInput", f"column {name!r} is null or holds a null list")
    if short.any():
        length = " x ".join(map(str, sizes))
        problems.add(short, "WrongLength", f"column {name!r} does not hold {length} values")
    return _elements(
        array, (rows, *trailing), name=name, element=element, fill=fill, problems=problems
    )


def _elements(
    array: pa.Array,
    shape: tuple[int, ...],
    *,
    name: str,
    element: str,
    fill: Any,
    problems: Problems,
) -> npt.NDArray[Any]:
    inner = Problems(rows=len(array))
    values = scalar_values(array, name=name, element=element, fill=fill, problems=inner)
    width = math.prod(shape[1:])
    for mask, error, _ in inner.found:
        what = "a null" if error == "NullInput" else f"a value beyond the model's {element}"
        problems.add(
            np.asarray(mask.reshape(shape[0], width).any(axis=1)),
            error,
            f"column {name!r} holds {what}",
        )
    return values.reshape(shape)


def _levels(type_: pa.DataType) -> int:
    count = 0
    while pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_):
        type_ = type_.value_type
        count += 1
    return count


def _flattened(array: pa.Array, size: int, nulls: Mask | None) -> tuple[pa.Array, Mask]:
    """Return the n x size elements of n lists and where lists have another length.

    Null and wrong lists contribute `size` arbitrary elements, so that rows stay where they are.
    (`FixedSizeListArray.flatten` drops null rows, which shifts all rows that follow.)
    """
    rows = len(array)
    if pt.is_fixed_size_list(array.type):
        return array.values.slice(array.offset * size, rows * size), np.zeros(rows, np.bool_)
    dtype = np.int64 if pt.is_large_list(array.type) else np.int32
    if not rows:
        return array.values.slice(0, 0), np.zeros(0, np.bool_)
    offsets = np.frombuffer(array.buffers()[1], dtype=dtype)[array.offset :][: rows + 1]
    wrong = np.diff(offsets) != size
    if not wrong.any():
        return array.values.slice(int(offsets[0]), rows * size), wrong
    good = ~wrong
    positions = np.zeros((rows, size), dtype=np.int64)
    positions[good] = np.add(offsets[:-1][good, None], np.arange(size))
    if not len(array.values):
        return pa.nulls(rows * size, array.values.type), wrong
    if nulls is not None:
        wrong &= ~nulls
    return array.values.take(int64_array(positions.reshape(-1))), wrong


def int64_array(values: npt.NDArray[np.int64]) -> pa.Int64Array:
    """Return int64 values as an Arrow array without a copy."""
    return pa.Array.from_buffers(
        pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


def string_array(texts: Sequence[str]) -> pa.StringArray:
    """Return texts as an Arrow array."""
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(texts) + 1, dtype=np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def bool_array(mask: Mask) -> pa.BooleanArray:
    """Return a mask as an Arrow array."""
    packed = np.packbits(mask, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, pa.py_buffer(packed)])


def _decoded(array: pa.Array) -> pa.Array:
    if pt.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pt.is_decimal(array.type):
        return array.cast(pa.float64())
    return array


def _strings(array: pa.Array) -> npt.NDArray[Any]:
    # Fixed-width numpy strings cut at the first NUL character, so: Python strings.
    values = np.empty(len(array), dtype=object)
    values[:] = array.to_pylist()
    return values


def _primitives(array: pa.Array, element: str) -> npt.NDArray[Any]:
    if pt.is_null(array.type):
        return np.zeros(len(array), dtype=DTYPES[element])
    if pt.is_boolean(array.type):
        return bits(array)
    dtype = DTYPES.get(_NUMPY_NAMES.get(str(array.type), str(array.type)))
    return np.frombuffer(array.buffers()[1], dtype=dtype)[array.offset :][: len(array)]


_NUMPY_NAMES = {"halffloat": "float16"}


def _cast(values: npt.NDArray[Any], element: str) -> tuple[npt.NDArray[Any], Mask | None]:
    """Return values as the element's dtype and where they do not fit; None: everywhere they do."""
    dtype = DTYPES[element]
    if values.dtype == dtype:
        return values, None
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            cast = values.astype(dtype)
        if values.dtype.kind == "b" or (values.dtype.kind in "iu" and dtype.itemsize > 2):
            return cast, None
        infinite = np.isinf(cast)
        return cast, infinite & np.isfinite(values) if infinite.any() else None
    if values.dtype.kind == "b":
        return values.astype(dtype), None
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    wrong = (values < low) | (values > high)
    return values.astype(dtype), wrong if wrong.any() else None


def _empty(element: str) -> Any:
    return "" if element == "string" else DTYPES[element].type(0)
