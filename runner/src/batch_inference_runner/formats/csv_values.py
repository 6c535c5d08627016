"""CSV values: inferring a column's type, and casting text to it with the rows that do not fit."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

# Text that means "no value" in a column that is not text; an empty value does, too.
NULL_WORDS = frozenset({"NA", "N/A", "NULL", "null", "\\N"})
_INFERRED = {
    pa.int64(): r"^[-+]?(0|[1-9][0-9]*)$",
    pa.float64(): (
        r"^[-+]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[iI]nf(inity)?|NaN|nan)$"
    ),
    pa.bool_(): r"^(true|false|True|False|TRUE|FALSE)$",
}
# A typo in a number must not make the whole column text, but a column of codes must stay text.
_MOSTLY = 0.9
_CANONICAL = r"^(0|-?[1-9][0-9]*)$"
_SURELY_INT64_DIGITS = 18
_MOST_INT64_DIGITS = 20  # with a sign
_SHORTEST_WRAPPED = len("0x8000000000000000")
_INT64 = range(-(2**63), 2**63)


def infer_type(values: pa.ChunkedArray, *, of_nulls: pa.DataType) -> pa.DataType:
    """Infer a column's type from sampled text: int64, float64, bool, or string.

    `of_nulls` is the type of a column without any value.

    At least nine tenths of the values that are not null must look like the type. Numbers with a
    leading zero are codes, so they are text, and so are whole numbers beyond int64, which would
    lose digits as float64; dates and times stay text.
    """
    present = _present(values)
    if len(present) == 0:
        return of_nulls
    kind = _looks_like(present)
    return pa.string() if kind == pa.int64() and not _mostly_int64(present) else kind


def infer_key_type(values: pa.ChunkedArray, *, of_nulls: pa.DataType) -> pa.DataType:
    """Infer the type of the column that names rows: int64 if that keeps every digit, else string.

    As numbers `12E3` and `12000` would name the same row, and so would two fractions that differ
    only behind the digits of a float64. Words for nulls and NaN are names like any other.
    """
    present = values.drop_null()
    if len(present) == 0:
        return of_nulls
    canonical = pc.match_substring_regex(present, _CANONICAL)
    is_exact = pc.all(canonical).as_py() and _count_beyond_int64(present) == 0
    return pa.int64() if is_exact else pa.string()


def _looks_like(present: pa.ChunkedArray) -> pa.DataType:
    for kind, pattern in _INFERRED.items():
        fits = pc.sum(pc.match_substring_regex(present, pattern)).as_py() or 0
        if fits == len(present):
            return kind
        if fits >= _MOSTLY * len(present):
            others = present.filter(pc.invert(pc.match_substring_regex(present, pattern)))
            codes = pc.any(pc.match_substring_regex(others, r"^[-+]?0[0-9]")).as_py()
            numbers = pc.any(pc.match_substring_regex(others, _INFERRED[pa.float64()])).as_py()
            if not codes and not numbers:
                return kind
    return pa.string()


def _mostly_int64(present: pa.ChunkedArray) -> bool:
    wholes = present.filter(pc.match_substring_regex(present, _INFERRED[pa.int64()]))
    return len(wholes) - _count_beyond_int64(wholes) >= _MOSTLY * len(present)


def _count_beyond_int64(wholes: pa.ChunkedArray) -> int:
    long = wholes.filter(pc.greater(pc.utf8_length(wholes), _SURELY_INT64_DIGITS)).to_pylist()
    return sum(len(text) > _MOST_INT64_DIGITS or int(text) not in _INT64 for text in long)


def _present(values: pa.ChunkedArray) -> pa.ChunkedArray:
    values = values.drop_null()
    null_words = pa.array(["", *sorted(NULL_WORDS)])
    return values.filter(pc.invert(pc.is_in(values, value_set=null_words)))


def cast_text(
    values: pa.ChunkedArray, kind: pa.DataType
) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_] | None]:
    """Cast text to `kind`; beside it a mask of the rows that do not fit (null there), or None."""
    if pa.types.is_string(kind):
        return values, None
    if not len(values):  # a column of files without rows has no type to cast to
        return pa.chunked_array([], kind), None
    try:
        column = pc.cast(values, kind)
    except pa.ArrowInvalid:
        return _cast_singly(values, kind)
    return _cast_singly(values, kind) if _may_differ(column, values) else (column, None)


def cast_key(
    values: pa.ChunkedArray, kind: pa.DataType
) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_] | None]:
    """Cast as cast_text does, but a number that is not in its plain form does not fit either.

    `007`, which is 7 elsewhere, would name the row of another key. Its value is left as it is.
    """
    column, bad = cast_text(values, kind)
    if not pa.types.is_int64(kind):
        return column, bad
    is_same = pc.fill_null(pc.equal(pc.cast(column, pa.string()), values), fill_value=False)
    differs = pc.and_not(pc.is_valid(values), is_same)
    return column, differs.to_numpy() if _any(differs) else None


def _may_differ(column: pa.ChunkedArray, values: pa.ChunkedArray) -> bool:
    """Whether pyarrow's cast may have taken text that is rejected where it is parsed singly.

    It wraps hexadecimal numbers beyond int64 around, makes numbers beyond float64 infinite, and
    reads NaN as C writes it, as `nan(1)`. A row must not depend on the others of its block.
    """
    if pa.types.is_int64(column.type):
        is_long = pc.greater_equal(pc.binary_length(values), _SHORTEST_WRAPPED)
        suspects = pc.and_(is_long, pc.less(column, 0))
        return _any(suspects) and _any(pc.starts_with(values, "0"))
    if pa.types.is_float64(column.type):
        strange = values.filter(pc.invert(pc.is_finite(column)))
        return _any(pc.match_substring_regex(strange, "[0-9(]"))
    return False


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask).as_py())


def _cast_singly(
    values: pa.ChunkedArray, kind: pa.DataType
) -> tuple[pa.ChunkedArray, npt.NDArray[np.bool_] | None]:
    parse = _PARSERS[kind]
    bad = np.zeros(len(values), bool)
    parsed: list[object] = []
    for row, text in enumerate(values.to_pylist()):
        value = None
        if text is not None and text != "" and text not in NULL_WORDS:
            try:
                value = parse(text)
            except (ValueError, OverflowError):
                bad[row] = True
        parsed.append(value)
    column = pa.chunked_array([pa.array(parsed, kind)], type=kind)
    return column, bad if bad.any() else None


def _parse_int(text: str) -> int:
    text = _plain(text)
    if text[:2].lower() == "0x":  # pyarrow's cast reads these, so every path has to
        value = int(text, 16)
    else:
        try:
            value = int(text)
        except ValueError:
            real = float(text)
            if not real.is_integer() or abs(real) > 2**53:
                raise
            value = int(real)
    if value not in _INT64:
        raise OverflowError
    return value


def _parse_float(text: str) -> float:
    value = float(_plain(text))
    if isinf(value) and any(map(str.isdigit, text)):
        raise OverflowError
    return value


def _parse_bool(text: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    word = _plain(text).lower()
    if word not in words:
        raise ValueError(word)
    return words[word]


def _plain(text: str) -> str:
    text = text.strip(" \t")
    if "_" in text or not text.isascii():
        raise ValueError("Python's notation, not CSV's")
    return text


_PARSERS: dict[pa.DataType, Callable[[str], object]] = {
    pa.int64(): _parse_int,
    pa.float64(): _parse_float,
    pa.bool_(): _parse_bool,
}
