"""Numbers, times and other people's text as they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_operator.durations import format_duration

if TYPE_CHECKING:
    from datetime import datetime

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_LONGEST_NOTE = 300


def count(value: int | None, noun: str = "") -> str:
    """`1,234,567`, or with a noun `1 row`, `2 rows`; `?` for what is not known."""
    if value is None:
        return f"? {noun}s" if noun else "?"
    return f"{value:,}" + (f" {noun}" if noun else "") + ("s" if noun and value != 1 else "")


def ago(moment: datetime, now: datetime) -> str:
    """`6m12s ago`; clocks that differ a little make nothing happen in the future."""
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 1 else f"{format_duration(seconds)} ago"


def size(size_bytes: int) -> str:
    """`812 B`, `77.5 MiB`."""
    amount = float(size_bytes)
    for unit in _SIZES:
        if amount < 1024 or unit == _SIZES[-1]:
            break
        amount /= 1024
    return f"{size_bytes} B" if unit == "B" else f"{amount:.1f} {unit}"


def readable(text: str) -> str:
    """Text that others wrote, in one line: what a terminal would obey is shown instead."""
    flat = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)


def note(text: str) -> str:
    """The beginning of a text that others wrote, where the whole would hide the rest."""
    flat = readable(text)
    return flat if len(flat) <= _LONGEST_NOTE else flat[: _LONGEST_NOTE - 3] + "..."
