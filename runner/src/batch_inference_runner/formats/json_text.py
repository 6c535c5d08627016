"""Arrow columns as JSON text, column by column.

Strict JSON: NaN and infinities are null. Integers of any size are numbers, decimals are strings
(exact), dates and times ISO 8601 strings, timestamps too (with a zone: in UTC, ending in `Z`),
maps with string keys objects. A missing value is `null`, never a missing key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Sequence

_NULL = pa.scalar("null")
_CONTROL_CHARACTERS = r"[\x00-\x1f]"


def render_lines(table: pa.Table) -> memoryview:
    """Render a table of n rows as the bytes of n lines, each one JSON object.

    The text of one call is limited to 2 GiB; callers slice.
    """
    columns = [(name, table.column(name).combine_chunks()) for name in table.column_names]
    rendered = [(name, _render(column)) for name, column in columns]
    lines = _objects(rendered, length=table.num_rows, end="}\n")
    _, offsets, data = lines.buffers()
    if data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32, lines.offset + len(lines) + 1)
    return memoryview(data)[ends[lines.offset] : ends[-1]]


def _render(array: pa.Array) -> pa.StringArray:
    """Render every value, nulls as `null`; the result has no nulls."""
    return pc.fill_null(_render_values(_plain(array)), _NULL)


def _plain(array: pa.Array) -> pa.Array:
    """Replace encodings and views by the plain type."""
    kind = array.type
    if pt.is_dictionary(kind):
        return _plain(array.dictionary_decode())
    if pt.is_string_view(kind) or pt.is_large_string(kind):
        return array.cast(pa.string())
    if pt.is_fixed_size_list(kind) or pt.is_large_list(kind):
        return array.cast(pa.list_(kind.value_field))
    return array


def _render_values(array: pa.Array) -> pa.StringArray:
    kind = array.type
    if pt.is_null(kind):
        return array.cast(pa.string())
    if pt.is_integer(kind) or pt.is_boolean(kind):
        return array.cast(pa.string())
    if pt.is_floating(kind):
        return _render_floats(array)
    if pt.is_string(kind):
        return _render_strings(array)
    if pt.is_map(kind):
        return _render_maps(array)
    if pt.is_list(kind):
        return _bracketed("[", _joined(array, _render(_values_of(array))), "]")
    if pt.is_struct(kind):
        return _render_structs(array)
    return _bracketed('"', _iso_text(array), '"')


def _render_floats(array: pa.Array) -> pa.StringArray:
    finite = pc.is_finite(array if not pt.is_float16(array.type) else array.cast(pa.float32()))
    text = array.cast(pa.string())
    if pc.all(finite, min_count=0).as_py() is not False:
        return text
    return pc.if_else(finite, text, _NULL)


def _render_strings(array: pa.Array) -> pa.StringArray:
    present = _bytes_present(array)
    if present[ord("\\")]:
        array = pc.replace_substring(array, "\\", "\\\\")
    if present[ord('"')]:
        array = pc.replace_substring(array, '"', '\\"')
    if present[:0x20].any():
        array = _escape_control_characters(array)
    return _bracketed('"', array, '"')


def _bytes_present(array: pa.StringArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say which of the 256 byte values occur in the text."""
    _, offsets, data = array.buffers()
    present = np.zeros(256, dtype=bool)
    if data is None or len(array) == 0:
        return present
    ends = np.frombuffer(offsets, np.int32, array.offset + len(array) + 1)
    present[np.frombuffer(data, np.uint8)[ends[array.offset] : ends[-1]]] = True
    return present


def _escape_control_characters(array: pa.StringArray) -> pa.StringArray:
    """Escape what JSON forbids inside strings; backslashes and quotes are escaped already."""
    affected = pc.match_substring_regex(array, _CONTROL_CHARACTERS)
    table = {code: json.dumps(chr(code))[1:-1] for code in range(0x20)}
    escaped = [text.translate(table) for text in array.filter(affected).to_pylist()]
    return pc.replace_with_mask(
        array, pc.fill_null(affected, fill_value=False), pa.array(escaped, pa.string())
    )


def _iso_text(array: pa.Array) -> pa.StringArray:
    kind = array.type
    if pt.is_timestamp(kind):
        if kind.tz is not None:
            array = array.cast(pa.timestamp(kind.unit, "UTC"))
        return pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)
    return array.cast(pa.string())


def _render_structs(array: pa.StructArray) -> pa.StringArray:
    names = [field.name for field in array.type]
    fields = [(name, _render(values)) for name, values in zip(names, array.flatten(), strict=True)]
    text = _objects(fields, len(array))
    return pc.if_else(array.is_valid(), text, _NULL)


def _render_maps(array: pa.MapArray) -> pa.StringArray:
    first, last = _bounds(array)
    keys = _render_strings(_plain(array.keys.slice(first, last - first)))
    items = _render(array.items.slice(first, last - first))
    return _bracketed("{", _joined(array, _concatenated(keys, ":", items)), "}")


def _values_of(array: pa.ListArray) -> pa.Array:
    first, last = _bounds(array)
    return array.values.slice(first, last - first)


def _bounds(array: pa.ListArray) -> tuple[int, int]:
    if len(array) == 0:
        return 0, 0
    return array.offsets[0].as_py(), array.offsets[len(array)].as_py()


def _joined(array: pa.ListArray, rendered: pa.StringArray) -> pa.StringArray:
    """Join the rendered elements of every list by commas; null lists stay null."""
    first, _ = _bounds(array)
    offsets = pc.subtract(array.offsets, first) if first else array.offsets
    if len(array) == 0:
        return pa.array([], pa.string())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, rendered), ",")
    return pc.if_else(array.is_valid(), joined, pa.scalar(None, pa.string()))


def _objects(
    fields: Sequence[tuple[str, pa.StringArray]], length: int, *, end: str = "}"
) -> pa.StringArray:
    if not fields:
        return pa.array(["{" + end] * length, pa.string())
    parts: list[Any] = []
    for index, (name, values) in enumerate(fields):
        parts += [("," if index else "{") + json.dumps(name, ensure_ascii=False) + ":", values]
    return _concatenated(*parts, end)


def _bracketed(before: str, text: pa.StringArray, after: str) -> pa.StringArray:
    return _concatenated(before, text, after)


def _concatenated(*parts: Any) -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, "")
