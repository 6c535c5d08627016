"""Jobs as they change: a list, then a watch, then both again, for as long as somebody asks.

Every snapshot is complete, so whoever misses one misses nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_inference_operator.cluster.api import Unreachable
from batch_inference_operator.cluster.user_connection import Unauthorized
from batch_inference_operator.decide.record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_inference_operator.cluster.user_calls import UserCalls
    from batch_inference_operator.decide.record import Record

TRANSIENT = (Unreachable, Unauthorized)
"""Worth another try once there was an answer: credentials can be renewed meanwhile."""
_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 15.0
_MAX_DOUBLINGS = 7
"""Those that reach the longest pause. An outage has no bound, a float's exponent has."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All jobs that are followed, as they are now, by name."""

    jobs: tuple[Record, ...]

    def find(self, name: str) -> Record | None:
        """The job of that name, if it is there."""
        return next((job for job in self.jobs if job.name == name), None)


@dataclass(frozen=True, slots=True)
class Outage:
    """The server does not answer just now; it is tried again."""

    message: str


def follow(
    calls: UserCalls, name: str | None, *, pause: Callable[[float], None]
) -> Iterator[Snapshot | Outage]:
    """Follow one job or all of the namespace, for ever.

    Raises:
        ClusterError: the first answer was a refusal, or a later one that will not go away.
    """
    failures, was_seen = 0, False
    while True:
        try:
            for snapshot in _watch_once(calls, name):
                failures, was_seen = 0, True
                yield snapshot
        except TRANSIENT as error:
            if not was_seen:
                raise
            failures += 1
            if failures > 1:  # a watch that a proxy has cut is no outage
                yield Outage(str(error))
        pause(pause_seconds(failures))


def pause_seconds(failures: int) -> float:
    """How long to wait before the next try, after so many failures in a row."""
    return min(_PAUSE_SECONDS * 2.0 ** min(failures, _MAX_DOUBLINGS), _LONGEST_PAUSE_SECONDS)


def _watch_once(calls: UserCalls, name: str | None) -> Iterator[Snapshot]:
    listed = calls.list_jobs(name)
    known = {job.name: job for job in map(read_record, listed.items)}
    yield _snapshot(known)
    for change in calls.watch_jobs(listed.version, name):
        job = read_record(change.raw)
        if change.is_gone:
            known.pop(job.name, None)
        else:
            known[job.name] = job
        yield _snapshot(known)


def _snapshot(known: dict[str, Record]) -> Snapshot:
    return Snapshot(tuple(known[name] for name in sorted(known)))


class Feed:
    """`follow` in a thread of its own, so that whoever waits can also look at the clock."""

    def __init__(self, calls: UserCalls, name: str | None) -> None:
        self._calls = calls
        self._name = name
        self._seen: queue.Queue[Snapshot | Outage | Exception] = queue.Queue()
        threading.Thread(target=self._run, name="kubectl-bij-feed", daemon=True).start()

    def _run(self) -> None:
        try:
            for seen in follow(self._calls, self._name, pause=time.sleep):
                self._seen.put(seen)
        except Exception as error:  # noqa: BLE001 - the thread's edge: whoever waits must hear of it
            self._seen.put(error)

    def next(self, timeout_seconds: float) -> Snapshot | Outage | None:
        """The next snapshot; None: nothing has changed for that time.

        Raises:
            ClusterError: nothing more will come.
        """
        try:
            seen = self._seen.get(timeout=min(max(0.0, timeout_seconds), threading.TIMEOUT_MAX))
        except queue.Empty:
            return None
        if isinstance(seen, Exception):
            raise seen
        return seen
