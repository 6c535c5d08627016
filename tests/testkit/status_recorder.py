"""Watches a job from its beginning to its end, and holds what it was told against I5.

I5: counters never go back, terminal states stay, whatever goes on has a condition that says why.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

from testkit.cluster_jobs import KIND, ClusterJob

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


class StatusRecorder:
    """Records every state that a job was in, in order, while a `with` block runs."""

    def __init__(self, job: ClusterJob) -> None:
        self._job = job
        self.objects: list[dict[str, Any]] = []
        self.arrivals: list[float] = []
        """When each of them arrived, on time.monotonic()."""

    def __enter__(self) -> Self:
        kubectl = self._job.kubectl
        self._process = subprocess.Popen(
            [
                str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}",
                f"--namespace={kubectl.namespace}", "get", KIND, "--watch", "-o", "json",
                f"--field-selector=metadata.name={self._job.name}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)

    def _record(self) -> None:
        for document in _documents(self._process):
            self.arrivals.append(time.monotonic())
            self.objects.append(document)

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


def _documents(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """JSON documents as kubectl prints them one after the other."""
    assert process.stdout is not None
    decoder, text = json.JSONDecoder(), ""
    for line in process.stdout:
        text += line
        if line != "}\n":
            continue
        document, _ = decoder.raw_decode(text)
        text = ""
        yield document
