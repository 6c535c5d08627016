"""Durations as people write and read them: `30m`, `1h30m`, `90s`."""

from __future__ import annotations

import re

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SECONDS_SHOWN_BELOW_MINUTES = 10
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


def format_duration(seconds: float) -> str:
    """`45s`, `6m12s`, `45m`, `2h5m`, `3d4h`: two units at most."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    if minutes >= _SECONDS_SHOWN_BELOW_MINUTES or (minutes and not rest):
        return f"{minutes}m"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
