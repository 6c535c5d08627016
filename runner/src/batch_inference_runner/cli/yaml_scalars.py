"""The text of a YAML scalar -> the value that kubectl reads: `yes` and `y` are true, dates text.

The rules are those of go-yaml, and those of JSON, by which kubectl sends what it has read.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

TAG = "tag:yaml.org,2002:"
_TAGGED: dict[str, tuple[type, ...]] = {
    f"{TAG}null": (type(None),),
    f"{TAG}bool": (bool,),
    f"{TAG}int": (int,),
    f"{TAG}float": (float, int),
}
TAGS = frozenset(_TAGGED)
"""Tags that say what is to be read; `str` says that nothing is."""
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{
        variant: value
        for value, words in ((True, "y yes on true"), (False, "n no off false"))
        for word in words.split()
        for variant in (word, word.capitalize(), word.upper())
    },
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]{0,19})")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_scalar(text: str, tag: str | None = None) -> Scalar:
    """Read a scalar without quotes, or with one of `TAGS`.

    Raises:
        ValueError: its tag says something else.
    """
    value = _read(text)
    if tag is not None and type(value) not in _TAGGED[tag]:
        raise ValueError(f"{text!r} is no {tag.removeprefix(TAG)}")
    return value


def in_json(value: Scalar) -> Scalar:
    """Return what a server reads of the JSON: `1.0` is whole, and whole numbers have 64 bits.

    Raises:
        ValueError: JSON has no such number.
    """
    if isinstance(value, str | bool | None):
        return value
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number in JSON")
    if not _is_of_64_bits(value):
        return float(value)
    return int(value) if value == int(value) else value


def key_text(value: Scalar) -> str:
    """Return the key that a scalar becomes, as JSON has keys of text only.

    Raises:
        ValueError: it would not be what was written, as `1e6`.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and _is_of_64_bits(value):
        return str(value)
    raise ValueError("a key must be text: put it in quotes")


def _read(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _NO_NUMBER.fullmatch(text):
        return float(text.replace(".", ""))
    digits = text if text[0] == "." else text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        whole = _whole(digits)
        if _is_of_64_bits(whole) or (whole < 2**64 and text[0].isdigit()):
            return whole
    if _DECIMAL.fullmatch(digits):
        decimal = float(digits)
        if math.isfinite(decimal):
            return decimal
    return text


def _whole(digits: str) -> int:
    unsigned = digits.lstrip("+-")
    is_old_octal = unsigned[0] == "0" and unsigned.isdecimal()
    return int(digits, 8 if is_old_octal else 0)


def _is_of_64_bits(number: float) -> bool:
    return -(2**63) <= number < 2**63
