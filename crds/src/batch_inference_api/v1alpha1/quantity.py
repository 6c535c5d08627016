"""Kubernetes quantities (`500m`, `4`, `8Gi`): reading them exactly."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"
_EXPECTATION = "must be a quantity such as 4, 500m, 8Gi"
LEAST_MEMORY = "1Mi"
"""Less is a mistake in the suffix, as `512m`: no process starts with it."""
_LONGEST = 32
_LIMIT = Decimal(2**63 - 1)
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    **{letter: Decimal(1000**power) for power, letter in enumerate("MGTPE", start=2)},
    **{f"{letter}i": Decimal(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
}


_SMALL_ENOUGH = {
    "rule": f"type(self) == int || quantity(self).compareTo(quantity('{_LIMIT}')) <= 0",
    "message": "must be a quantity below 2^63",
}
"""The server reads numbers as 64 bits anyway, but not texts."""


def parse_quantity(value: str | int) -> Decimal:
    """Read a quantity as the number it stands for.

    Raises:
        ValueError: not a quantity, negative, or beyond 64 bits.
    """
    text = str(value)
    if len(text) > _LONGEST:
        raise ValueError(_EXPECTATION)
    match = re.fullmatch(PATTERN, text)
    if match is None:
        meant = _meant_by(text)
        hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
        raise ValueError(f"{_EXPECTATION}{hint}")
    number, _, suffix = match.groups()
    if suffix and suffix[0] in "eE" and len(suffix) > 1 and suffix[1] != "i":
        result = Decimal(number + suffix)
    else:
        result = Decimal(number) * _SUFFIXES[suffix or ""]
    if result > _LIMIT:
        raise ValueError("must be a quantity below 2^63")
    return result


def _meant_by(text: str) -> tuple[str, ...]:
    """What a text is nearly: `512MB` and `1gb` are no quantities, nor is anything with spaces."""
    compact = text.replace(" ", "")
    if re.fullmatch(PATTERN, compact):
        return (compact,)
    almost = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)([kmgtp])(i?)b?", compact, re.IGNORECASE)
    if almost is None:
        return ()
    number, letter, is_binary = almost.groups()
    binary = f"{number}{letter.upper()}i"
    decimal = f"{number}{letter.upper().replace('K', 'k')}"
    return (binary,) if is_binary else (decimal, binary)


def whole(value: str | int) -> int:
    """The quantity in whole units (bytes, devices), rounded up."""
    return int(parse_quantity(value).to_integral_value(ROUND_CEILING))


def millis(value: str | int) -> int:
    """The quantity in thousandths (CPU), rounded up."""
    return int((parse_quantity(value) * 1000).to_integral_value(ROUND_CEILING))


def too_few_bytes(quantity: str | int, least: str = "1") -> str:
    """What is wrong with less than `least`, and what was probably meant; empty if nothing is.

    Fractions of a byte above it are fine: `1.1Gi` is some, and Kubernetes writes it with an `m`.
    """
    amount = parse_quantity(quantity)
    if amount >= parse_quantity(least):
        return ""
    expectation = f"must be at least {least}"
    if not amount:
        return expectation
    number = str(quantity).removesuffix("m")
    meant = f"{number}Mi" if number != str(quantity) else f"{number}Mi or {number}Gi"
    hint = f": did you mean {meant}?" if re.fullmatch("[0-9.]+", number) else ""
    return f"{expectation}, and {quantity} is {amount.normalize():f} bytes{hint}"


def _check(value: Any) -> str | int:
    if isinstance(value, float):
        thousandths = Decimal(str(value)) * 1000
        same = "" if thousandths % 1 else f", which is {thousandths:.0f}m"
        raise ValueError(f'a decimal must be in quotes: "{value}"{same}')  # noqa: TRY004 - for pydantic
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(_EXPECTATION)  # noqa: TRY004 - for pydantic
    parse_quantity(value)
    return value


Quantity = Annotated[
    str | int,
    PlainValidator(_check),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": PATTERN,
            "maxLength": _LONGEST,
            "minimum": 0,
            "x-kubernetes-validations": [_SMALL_ENOUGH],
        }
    ),
]
