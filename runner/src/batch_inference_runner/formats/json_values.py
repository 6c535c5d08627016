"""One JSON line as a row of planned types: the authority on what is a good line."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEPTH = 64
_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
NATURAL = pa.uint32()
"""Stands, while types are inferred, for numbers that int64 and uint64 both hold."""
_NUMBERS = (NATURAL, pa.int64(), pa.uint64(), pa.float64())


class BadLine(Exception):
    """A line that is no row; `error` is its class, the message never quotes the line."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys it was given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: frozenset[str] = frozenset()
        if len(self) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            self.repeated = frozenset(name for name in self if counts[name] > 1)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadLine("InvalidJson", "a number is too large for float64")
    return value


class _MinusZero(int):
    """`-0`: an integer like any zero, until it is wanted as a float.

    Made an int before anything else: `in range(...)` would count up to it, pyarrow refuse it.
    """

    def __float__(self) -> float:
        return -0.0


def _integer(text: str) -> int:
    return _MinusZero() if text == "-0" else int(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_float=_finite, parse_int=_integer)


def parse_line(line: bytes) -> dict[str, Any]:
    """Parse one line as a JSON object. Raises BadLine."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise BadLine("InvalidUtf8", "the line is not valid UTF-8") from None
    try:
        _refuse_depth(text)
        value = _DECODER.decode(text.strip(" \t\r\n"))
    except (ValueError, RecursionError):
        raise BadLine("InvalidJson", "the line is not one valid JSON value") from None
    if not isinstance(value, dict):
        raise BadLine("InvalidJson", "the line is not a JSON object")
    return value


def _refuse_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadLine("InvalidJson", f"values are nested deeper than {MAX_DEPTH} levels")
        elif character in "]}":
            depth -= 1


def conform(row: dict[str, Any], types: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """Take the columns of `types` from a parsed line; a missing key is null. Raises BadLine."""
    repeated = row.repeated & types.keys() if isinstance(row, _Object) else frozenset[str]()
    if repeated:
        raise BadLine("DuplicateKey", f"key {min(repeated)!r} appears twice")
    return {name: _value(row.get(name), kind, name) for name, kind in types.items()}


def _value(value: Any, kind: pa.DataType, name: str) -> Any:
    if value is None:
        return None
    converted = _converted(value, kind, name)
    if converted is None:
        raise BadLine("TypeMismatch", f"column {name!r} is {_word(value)}, not {kind}")
    return converted


def _converted(value: Any, kind: pa.DataType, name: str) -> Any:
    """Convert a value that is not null; None says that it does not fit."""
    types = pa.types
    if types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if types.is_int64(kind):
        return _whole(value, _INT64)
    if types.is_uint64(kind):
        return _whole(value, _UINT64)
    if types.is_float64(kind):
        return _real(value)
    if types.is_string(kind):
        return _string(value)
    if types.is_list(kind) and isinstance(value, list):
        return [_value(item, kind.value_type, name) for item in value]
    if types.is_struct(kind) and isinstance(value, dict):
        fields = {field.name: field.type for field in kind}
        return conform(value, fields)
    return None


def _whole(value: Any, allowed: range) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    whole = int(value)
    return whole if whole in allowed else None


def _real(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        raise BadLine("InvalidJson", "a number is too large for float64") from None


def _string(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadLine("InvalidJson", "a string holds half of a surrogate pair")
    return value


def _word(value: Any) -> str:
    words = {bool: "a boolean", str: "a string", list: "a list"}
    if isinstance(value, dict):
        return "an object"
    return words.get(type(value), "a number out of range or with a fraction")


def type_of(value: Any) -> pa.DataType:
    """Infer the type of one parsed value; null for what says nothing."""
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        whole = int(value)
        if whole in _INT64:
            return pa.int64() if whole < 0 else NATURAL
        return pa.uint64() if whole in _UINT64 else pa.float64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, str):
        return pa.string()
    if isinstance(value, list):
        item: pa.DataType | None = pa.null()
        for element in value:
            item = merged_type(item, type_of(element)) if item is not None else None
        return pa.list_(item) if item is not None else pa.null()
    if isinstance(value, dict):
        return pa.struct([pa.field(name, type_of(item)) for name, item in value.items()])
    return pa.null()


def merged_type(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """Find a type for values of both; None if there is none (a number and a string, say)."""
    if left.equals(right) or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if left in _NUMBERS and right in _NUMBERS:
        return _merged_number({left, right})
    if pa.types.is_list(left) and pa.types.is_list(right):
        item = merged_type(left.value_type, right.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        return _merged_struct(left, right)
    return None


def _merged_number(kinds: set[pa.DataType]) -> pa.DataType:
    (kind,) = kinds - {NATURAL} if len(kinds - {NATURAL}) == 1 else {pa.float64()}
    return kind


def _merged_struct(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    fields = {field.name: field.type for field in left}
    for field in right:
        merged = merged_type(fields.get(field.name, pa.null()), field.type)
        if merged is None:
            return None
        fields[field.name] = merged
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])
