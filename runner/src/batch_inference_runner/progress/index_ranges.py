"""Sets of shard indexes as text, the way batch/v1 writes `completedIndexes`."""

from __future__ import annotations

import re

MAX_BYTES = 1024
"""Longer texts are left out: a report is bounded for any number of shards."""


def compress(states: bytes | bytearray, state: int, *, max_bytes: int = MAX_BYTES) -> str:
    """Write the positions of `states` that hold `state` as `0-11,14`.

    Returns the empty string when the text would exceed `max_bytes`.
    """
    parts: list[str] = []
    length = -1
    for run in re.finditer(re.escape(bytes([state])) + b"+", states):
        parts.append(_interval(run.start(), run.end() - 1))
        length += len(parts[-1]) + 1
        if length > max_bytes:
            return ""
    return ",".join(parts)


def _interval(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"
