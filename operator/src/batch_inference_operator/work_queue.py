"""Keys to reconcile: each once, one at a time, and with growing pauses while it fails.

`Schedule` decides and never waits; `WorkQueue` waits. A key is due at one instant only: the
earliest that anyone asked for. While a key is worked on, asking for it again makes it due again as
soon as it is done, so no change is missed and none is worked on twice at once.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

KeyT = TypeVar("KeyT", bound="Hashable")
_STALE_ENTRIES = 64
"""Overtaken entries that are always left in the heap: rebuilding it for fewer is not worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that double with each failure in a row, less up to half of it by chance."""

    first_seconds: float = 0.5
    most_seconds: float = 120

    def pause_seconds(self, failures: int, chance: float) -> float:
        """The pause after so many failures in a row; `chance` is from 0 to 1."""
        doubled = self.first_seconds * 2.0 ** min(failures - 1, 32)
        return min(doubled, self.most_seconds) * (1 - chance / 2)


class QueueClosed(Exception):
    """There is nothing more to do: the process ends."""


class Schedule(Generic[KeyT]):
    """Which key is due when. All times are seconds of one monotonic clock."""

    def __init__(self, *, backoff: Backoff, random: Callable[[], float]) -> None:
        self._backoff = backoff
        self._random = random
        self._due: dict[KeyT, float] = {}
        self._heap: list[tuple[float, int, KeyT]] = []
        self._order = count()  # keys due at the same time are taken in the order of asking
        self._running: set[KeyT] = set()
        self._failures: dict[KeyT, int] = {}
        self._paused_until: dict[KeyT, float] = {}
        self._barred_until: dict[KeyT, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def count_due(self, now: float) -> int:
        """How many keys are due by now, those asked for anew while they are worked on included."""
        return sum(at <= now for at in self._due.values())

    def ask(self, key: KeyT, at: float) -> None:
        """Make a key due at a time, or earlier if that was asked for already."""
        at = max(at, self._barred_until.get(key, at))
        if key in self._due and self._due[key] <= at:
            return
        self._due[key] = at
        if key not in self._running:
            self._push(key)

    def take(self, now: float) -> KeyT | None:
        """A key that is due and that nobody works on; it counts as worked on from now."""
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._is_stale(at, key):
                continue
            del self._due[key]
            self._barred_until.pop(key, None)
            self._running.add(key)
            return key
        return None

    def next_due(self) -> float | None:
        """When `take` will have a key; None: when somebody asks for one."""
        while self._heap and self._is_stale(self._heap[0][0], self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def succeed(self, key: KeyT) -> None:
        """The work on a key went well."""
        self._failures.pop(key, None)
        self._paused_until.pop(key, None)
        self._finish(key)

    def fail(self, key: KeyT, now: float, *, at_least_seconds: float = 0) -> float:
        """The work failed: the key is due again after the pause that is returned, in seconds.

        The pause grows once it is over: a change that fails before has the rest of it only.
        `at_least_seconds` is a server's wish: until then not even a change makes the key due.
        """
        if now >= self._paused_until.get(key, now):
            self._failures[key] = self._failures.get(key, 0) + 1
            grown = self._backoff.pause_seconds(self._failures[key], self._random())
            self._paused_until[key] = now + grown
        pause = self._paused_until[key] - now
        if at_least_seconds > 0:
            pause = max(pause, at_least_seconds)
            self._barred_until[key] = now + at_least_seconds
            if key in self._due:
                self._due[key] = max(self._due[key], now + at_least_seconds)
        self.ask(key, now + pause)
        self._finish(key)
        return pause

    def _finish(self, key: KeyT) -> None:
        self._running.discard(key)
        if key in self._due:
            self._push(key)

    def _push(self, key: KeyT) -> None:
        heapq.heappush(self._heap, (self._due[key], next(self._order), key))
        if len(self._heap) > _STALE_ENTRIES + 2 * len(self._due):
            self._drop_stale()

    def _drop_stale(self) -> None:
        """Rebuild the heap: entries far ahead that were overtaken would lie there until then."""
        self._heap = [entry for entry in self._heap if not self._is_stale(entry[0], entry[2])]
        heapq.heapify(self._heap)

    def _is_stale(self, at: float, key: KeyT) -> bool:
        """Whether a heap entry was overtaken: asked for earlier, taken, or worked on."""
        return self._due.get(key) != at or key in self._running


class WorkQueue(Generic[KeyT]):
    """A Schedule to wait for. It belongs to one event loop."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        backoff: Backoff | None = None,
    ) -> None:
        self._schedule: Schedule[KeyT] = Schedule(backoff=backoff or Backoff(), random=random)
        self._clock = clock
        self._changed = asyncio.Event()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._schedule)

    @property
    def due(self) -> int:
        """How many keys are due by now; a worker takes each at once, unless all are busy."""
        return self._schedule.count_due(self._clock())

    def add(self, key: KeyT) -> None:
        """Ask for a key to be worked on as soon as possible."""
        self.add_after(key, 0)

    def add_after(self, key: KeyT, seconds: float) -> None:
        """Ask for a key to be worked on in so many seconds at the latest."""
        self._schedule.ask(key, self._clock() + seconds)
        self._changed.set()

    async def get(self) -> KeyT:
        """Wait for a key; `done` or `failed` must follow.

        Raises:
            QueueClosed: the queue was closed; keys that are due are left to the next process.
        """
        while not self._is_closed:
            key = self._schedule.take(self._clock())
            if key is not None:
                return key
            self._changed.clear()
            await self._wait_until(self._schedule.next_due())
        raise QueueClosed

    def done(self, key: KeyT) -> None:
        """The work on a key went well: its failures are forgotten."""
        self._schedule.succeed(key)
        self._changed.set()

    def failed(self, key: KeyT, *, at_least_seconds: float = 0) -> float:
        """The work on a key failed: it comes again after the pause that is returned."""
        pause = self._schedule.fail(key, self._clock(), at_least_seconds=at_least_seconds)
        self._changed.set()
        return pause

    def close(self) -> None:
        """Hand out no more keys."""
        self._is_closed = True
        self._changed.set()

    async def _wait_until(self, due: float | None) -> None:
        seconds = None if due is None else max(0.0, due - self._clock())
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
