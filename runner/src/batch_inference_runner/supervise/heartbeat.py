"""What a child tells its supervisor, a line each: that it lives, and what the next one must know.

Over a pipe that the child inherits. HTTP would do, but strangers can keep a port busy, and then a
driver that works would be taken for one that hangs.
"""

from __future__ import annotations

from typing import NamedTuple

BEAT_SECONDS = 1.0
"""A child beats at least so often."""


class Beat(NamedTuple):
    """Where a child stands; all zero for a worker, which only lives."""

    attempt: int = 0
    """Which start of a driver this is, over all pods that are known of."""
    committed: int = 0
    """Shards that are committed or given up, of earlier attempts too."""
    processed: int = 0
    """The high-water mark of rows."""

    def encode(self) -> bytes:
        return b"%d %d %d\n" % self

    def with_next(self, line: bytes) -> Beat:
        """Take over a line; none of the numbers goes back, and half a line says nothing."""
        words = line.split()
        if len(words) != len(self) or not all(word.isdigit() for word in words):
            return self
        return Beat(*map(max, self, map(int, words)))
