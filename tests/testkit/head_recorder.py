"""Watches index 0 of all runs of a job: which pods were alive at once, and the runs' tokens."""

from __future__ import annotations

from typing import Self

from testkit.cluster.api_server import RequestFailed
from testkit.cluster_jobs import INDEX_LABEL, RUN_LABEL, ClusterJob
from testkit.watch import Event, Watch


class HeadRecorder:
    """Records while a `with` block runs."""

    def __init__(self, job: ClusterJob) -> None:
        self.at_once: tuple[str, ...] = ()
        """The pods that were alive at the moment when most were."""
        self.tokens: set[str] = set()
        """The tokens of all runs whose index 0 ran."""
        self._job = job
        self._alive: dict[str, str] = {}
        self._runs: set[str] = set()
        self._watch = Watch(
            job.kubectl,
            "pods",
            labels=f"{job.selector},{INDEX_LABEL}=0",
            take=self._take,
            begin=self._alive.clear,
        )

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(*error)

    def is_running(self) -> bool:
        return self._watch.is_running()

    def assert_one_at_once(self) -> None:
        """I4, over all that was seen."""
        assert self.at_once, "index 0 was never seen alive"
        assert len(self.at_once) == 1, f"{self.at_once} were alive at once"

    def _take(self, event: Event) -> None:
        metadata, phase = event.object["metadata"], event.object["status"].get("phase")
        is_over = event.kind == "DELETED" or phase in ("Succeeded", "Failed")
        if is_over or "deletionTimestamp" in metadata:
            self._alive.pop(metadata["uid"], None)
        else:
            self._alive[metadata["uid"]] = metadata["name"]
        if len(self._alive) > len(self.at_once):
            self.at_once = tuple(self._alive.values())
        if phase != "Pending":
            self._read_tokens(metadata["labels"][RUN_LABEL])

    def _read_tokens(self, run: str) -> None:
        """Read the Secret of a run once: it goes with the run's Job."""
        if run in self._runs:
            return
        try:
            self.tokens |= self._job.tokens()
        except RequestFailed:
            return  # no API server just now; the pod will change again
        self._runs.add(run)
