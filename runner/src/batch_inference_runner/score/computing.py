"""Notices a thread that computes on and on, where nobody can say how long it may take.

Decoding and encoding read and write as they go, and a store may keep them waiting for as long as it
likes. But waiting takes no CPU time, and a decoder that loops takes nothing else.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class ComputingThreads:
    """What threads compute at the moment, each for one shard; `most_seconds` are of CPU time."""

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._begun: dict[int, tuple[int, int, float]] = {}

    @contextmanager
    def watched(self, shard: int) -> Iterator[None]:
        """Count what this thread computes inside of the `with` block."""
        thread = threading.get_ident()
        clock = time.pthread_getcpuclockid(thread)
        self._begun[thread] = (shard, clock, time.clock_gettime(clock))
        try:
            yield
        finally:
            del self._begun[thread]

    def overdue(self) -> set[int]:
        """Shards for which one thread has computed too long."""
        begun = tuple(self._begun.values())  # other threads change it
        return {
            shard
            for shard, clock, since in begun
            if time.clock_gettime(clock) - since > self._most_seconds
        }
