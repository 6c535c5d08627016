"""Watches a job from its beginning to its end, and holds what it was told against I5.

I5: counters never go back, terminal states stay, whatever goes on has a condition that says why.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import Any, Self

from testkit.cluster.kubectl import Manifest
from testkit.cluster_jobs import KIND, ClusterJob
from testkit.deadlines import wait_for
from testkit.head_recorder import HeadRecorder
from testkit.watch import Event, Watch

_COUNTERS = (
    ("progress", "rowsProcessed"),
    ("progress", "percentage"),
    ("completionStats", "successfulCount"),
    ("completionStats", "failedCount"),
    ("completionStats", "filteredCount"),
    ("shards", "succeeded"),
    ("run", "number"),
)
_TERMINAL = ("Complete", "Failed")
_LARGEST_STATUS = 32 * 1024
_LATE_SECONDS = 20


class StatusRecorder:
    """Records every state that a job was in, in order, while a `with` block runs; its heads too."""

    def __init__(self, job: ClusterJob) -> None:
        self.heads = HeadRecorder(job)
        self.objects: list[Manifest] = []
        self.arrivals: list[float] = []
        """When each of them arrived, on time.monotonic()."""
        self._job = job
        fields = f"metadata.name={job.name}"
        self._watch = Watch(job.kubectl, KIND, fields=fields, take=self._take)

    def __enter__(self) -> Self:
        with ExitStack() as watches:
            watches.enter_context(self._watch)
            watches.enter_context(self.heads)
            self._watches = watches.pop_all()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with self._watches:
            if error is None:
                self._wait_for_the_last()

    def _take(self, event: Event) -> None:
        if event.kind != "DELETED" and _version(event.object) not in map(_version, self.objects):
            self.arrivals.append(time.monotonic())
            self.objects.append(event.object)

    def _wait_for_the_last(self) -> None:
        """Wait until the job is recorded as it is now: a watch tells of it a moment later."""
        wait_for(
            self._is_up_to_date,
            seconds=_LATE_SECONDS,
            what=f"the last state of {self._job.name} to be recorded",
        )

    def _is_up_to_date(self) -> bool:
        watches = (self._watch, self.heads)
        job = self._job.find()
        last = self.objects[-1] if self.objects else None
        is_recorded = job is None or (last is not None and _version(job) == _version(last))
        return is_recorded and all(watch.is_running() for watch in watches)

    @property
    def seen(self) -> list[dict[str, Any]]:
        return [found.get("status", {}) for found in self.objects]

    @property
    def phases(self) -> list[str]:
        """The phases in their order, each once."""
        found: list[str] = []
        for status in self.seen:
            phase = status.get("phase")
            if phase and found[-1:] != [phase]:
                found.append(phase)
        return found

    def assert_truthful(self) -> None:
        """I5, over all that was seen."""
        assert self.seen, "nothing was recorded"
        highest: dict[tuple[str, str], int] = {}
        ended: set[str] = set()
        for status in self.seen:
            for counter in _COUNTERS:
                value = status.get(counter[0], {}).get(counter[1])
                if value is not None:
                    assert value >= highest.get(counter, 0), (counter, highest, status)
                    highest[counter] = value
            conditions = {found["type"]: found for found in status.get("conditions", [])}
            true = {kind for kind, found in conditions.items() if found["status"] == "True"}
            assert ended <= true, f"{ended} was taken back: {status}"
            ended |= true & set(_TERMINAL)
            assert not {"Reconciling", "Stalled"} <= true
            assert not conditions or true & {*_TERMINAL, "Suspended", "Reconciling"}, status
            assert len(json.dumps(status)) < _LARGEST_STATUS


def _version(found: Manifest) -> tuple[str, str]:
    return found["metadata"]["uid"], found["metadata"]["resourceVersion"]
