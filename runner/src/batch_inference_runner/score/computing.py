"""Notices what computes on and on, where nobody can say how long it may take.

Inspecting, decoding and encoding read and write as they go, and a store may keep them waiting for
as long as it likes. But waiting takes no CPU time, and a decoder that loops takes nothing else.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

_LOOK_SECONDS = 1.0


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
            if _seconds_of(clock) - since > self._most_seconds
        }


def _seconds_of(clock: int) -> float:
    try:
        return time.clock_gettime(clock)
    except OSError:  # its thread has ended meanwhile
        return 0.0


class ComputingProcess:
    """Calls `end_process` when this process has used `most_seconds` of CPU time without progress.

    For what a process does alone and in threads that come and go; active inside of a `with` block.
    """

    def __init__(self, most_seconds: float, end_process: Callable[[], object]) -> None:
        self._most_seconds = most_seconds
        self._end_process = end_process
        self._since = 0.0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.progressed()
        threading.Thread(target=self._watch, name="computing", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()

    def progressed(self) -> None:
        """Begin to count anew."""
        self._since = time.process_time()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            if time.process_time() - self._since > self._most_seconds:
                self._end_process()
