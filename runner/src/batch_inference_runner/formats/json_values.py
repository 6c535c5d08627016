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
INT64 = range(-(2**63), 2**63)
UINT64 = range(2**64)


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
        raise BadLine("TypeMismatch", f"column {name!r} is {_word(value, kind)}, not {kind}")
    return converted


def _converted(value: Any, kind: pa.DataType, name: str) -> Any:
    """Convert a value that is not null; None says that it does not fit."""
    types = pa.types
    if types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if types.is_int64(kind):
        return _whole(value, INT64)
    if types.is_uint64(kind):
        return _whole(value, UINT64)
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
    if not is_unicode(value):
        raise BadLine("InvalidJson", "a string holds half of a surrogate pair")
    return value


def is_unicode(text: str) -> bool:
    """Say if a text holds no half of a surrogate pair, which JSON can write and nobody encode."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _word(value: Any, kind: pa.DataType) -> str:
    words = {bool: "a boolean", str: "a string", list: "a list"}
    if isinstance(value, dict):
        return "an object"
    number = "a number"
    if pa.types.is_integer(kind):
        number += " out of range or with a fraction"
    return words.get(type(value), number)
