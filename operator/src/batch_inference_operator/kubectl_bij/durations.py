"""Durations as kubectl takes them: `30m`, `1h30m`, `90s`."""

from __future__ import annotations

import re

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"(\d+(?:\.\d+)?)(ms|d|h|m|s)"


def parse_duration(text: str) -> float:
    """Seconds of a duration; a number alone counts seconds.

    Raises ValueError: it is none; the message says what would be one.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(f"(?:{_PART})+", text):
        raise ValueError(f"{text!r} is not a duration: write 90s, 30m, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
