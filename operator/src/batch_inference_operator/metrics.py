"""What Prometheus reads: every metric of the operator, in a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from batch_inference_api.v1alpha1.status import Phase
from batch_inference_operator.cache import Kind
from batch_inference_operator.decide.record import is_managed_elsewhere, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from prometheus_client import Metric

    from batch_inference_operator.cache import Item, ObjectCache
    from batch_inference_operator.progress_poll import PollOutcome

_PREFIX = "batch_inference"
_RECONCILE_BUCKETS_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class Metrics:
    """Counts what happens, and on each scrape looks at what there is."""

    def __init__(
        self, *, cache: ObjectCache, queue_depth: Callable[[], int], resync_seconds: float
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_JobsByPhase(cache))
        self.registry.register(_LongestWait(cache))
        self.registry.register(_EachJob(cache))
        self._rows = _Rows()
        self._leads = False
        self._reconciles = self._histogram("reconcile_seconds", "Time to reconcile a job once.")
        self._errors = self._counter(
            "reconcile_errors", "Reconciles that failed, by kind of error.", "error"
        )
        self._calls = self._counter(
            "api_calls",
            "Calls to the API server, watches not included; code: the answer's, error or timeout.",
            *("verb", "resource", "code"),
        )
        self._polls = self._counter(
            "progress_polls", "Questions to pods for their progress, by outcome.", "outcome"
        )
        self._rows_processed = self._counter(
            "rows_processed", "Rows that jobs reported as scored while this replica was at work."
        )
        self._is_leader = self._gauge("is_leader", "1 if this replica is the one that works.")
        self._last_sync = self._gauge(
            "last_sync_timestamp_seconds", "When everything was last listed without an error."
        )
        # What age of that is too much depends on it, and an alert knows no settings.
        resync = self._gauge("resync_seconds", "How often everything is listed anew.")
        resync.set(resync_seconds)
        depth = self._gauge(
            "queue_depth", "Jobs that are due to be reconciled, and wait for a worker."
        )
        depth.set_function(queue_depth)

    def count_call(self, verb: str, resource: str, code: str) -> None:
        """Count an answer, or the lack of one."""
        self._calls.labels(verb, resource, code).inc()

    def count_poll(self, outcome: PollOutcome) -> None:
        """Count a question to a pod."""
        self._polls.labels(outcome.value).inc()

    def count_reconcile(self, seconds: float, error: Exception | None) -> None:
        """Count a reconcile; one that failed is tried again."""
        self._reconciles.observe(seconds)
        if error is not None:
            self._errors.labels(type(error).__name__).inc()

    def count_rows(self, job: Mapping[str, Any]) -> None:
        """Count the rows that a job has scored since it was last seen, if this replica works.

        Those that stand by see the same rows, and a sum over all replicas is what users ask for.
        """
        new_rows = self._rows.new_rows(job)
        if self._leads:
            self._rows_processed.inc(new_rows)

    def forget_rows(self, job: Mapping[str, Any]) -> None:
        """Drop what is remembered of a job that is gone."""
        self._rows.forget(job)

    def forget_rows_but(self, job_uids: Iterable[str]) -> None:
        """Drop what is remembered of all other jobs, whether or not a watch told of their end."""
        self._rows.forget_all_but(job_uids)

    def set_leading(self, *, is_leader: bool) -> None:
        """Say whether this replica works."""
        self._leads = is_leader
        self._is_leader.set(int(is_leader))

    def note_sync(self) -> None:
        """Say that everything was listed just now."""
        self._last_sync.set_to_current_time()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", help_text, registry=self.registry)

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(
            f"{_PREFIX}_{name}", help_text, registry=self.registry, buckets=_RECONCILE_BUCKETS_S
        )


class _JobsByPhase(Collector):
    """How many jobs are in which phase, counted when it is asked for."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        counts = dict.fromkeys((phase.value for phase in Phase), 0)
        for job in _own_jobs(self._cache):
            phase = _phase_of(job)
            counts[phase] = counts.get(phase, 0) + 1
        family = GaugeMetricFamily(f"{_PREFIX}_jobs", "Jobs by phase.", labels=["phase"])
        for phase, count in counts.items():
            family.add_metric([phase], count)
        yield family


class _LongestWait(Collector):
    """Since when the job that waits longest has been waiting to score; no series if none waits.

    One series for all of them: a quota may hold up hundreds. How many wait says nothing: where jobs
    come and go there are always some that start.
    """

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        waits = (
            _began_to_wait(job, self._cache.children(Kind.RUN_JOB, job["metadata"]["uid"]))
            for job in _own_jobs(self._cache)
            if _phase_of(job) in _WAITING and "deletionTimestamp" not in job["metadata"]
        )
        oldest = min((began for began in waits if began is not None), default=None)
        family = GaugeMetricFamily(
            f"{_PREFIX}_oldest_wait_timestamp_seconds",
            "Since when a job has been waiting to score: the one that waits longest.",
        )
        if oldest is not None:
            family.add_metric([], oldest.timestamp())
        yield family


_WAITING = (Phase.PENDING, Phase.STARTING)


def _began_to_wait(job: Item, runs: Iterable[Item]) -> datetime | None:
    """The latest time at which the job was not waiting yet: resumed, admitted, or still scoring."""
    status = job.get("status") or {}
    conditions = status.get("conditions") or ()
    moments = (
        job["metadata"].get("creationTimestamp"),
        (status.get("progress") or {}).get("lastUpdatedTime"),
        *(each["lastTransitionTime"] for each in conditions if each["type"] == "Reconciling"),
        *((run.get("status") or {}).get("startTime") for run in runs),
    )
    return max((found for each in moments if (found := parse_time(each))), default=None)


class _EachJob(Collector):
    """What alerts need to name a job: series of those that have pods, and of those that failed.

    A finished job has no series of its rows: as many series as jobs that ever ran help nobody. The
    labels are not called `namespace` and `job`, which Prometheus sets to what it scrapes.
    """

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        labels = ("job_namespace", "job_name")
        processed, written, rejected = (
            GaugeMetricFamily(
                f"{_PREFIX}_job_rows_{what}", f"{text}, while it runs.", labels=labels
            )
            for what, text in _ROWS_OF_A_JOB
        )
        failed = GaugeMetricFamily(
            f"{_PREFIX}_failed_job", "1 for each job that failed.", labels=(*labels, "reason")
        )
        failed_at = GaugeMetricFamily(
            f"{_PREFIX}_failed_job_timestamp_seconds",
            "When it was found that the job has failed.",
            labels=(*labels, "reason"),
        )
        for job in _own_jobs(self._cache):
            names = [job["metadata"]["namespace"], job["metadata"]["name"]]
            status = job.get("status") or {}
            if status.get("phase") in _WITH_PODS:
                rows, counts = status.get("progress") or {}, status.get("completionStats") or {}
                processed.add_metric(names, rows.get("rowsProcessed") or 0)
                written.add_metric(names, counts.get("successfulCount") or 0)
                rejected.add_metric(names, counts.get("failedCount") or 0)
            elif status.get("phase") == Phase.FAILED:
                reason, moment = _failure_of(status)
                failed.add_metric([*names, reason], 1)
                if moment is not None:
                    failed_at.add_metric([*names, reason], moment.timestamp())
        yield from (processed, written, rejected, failed, failed_at)


_ROWS_OF_A_JOB = (
    ("processed", "Rows that a running job has scored, those in flight too"),
    ("written", "Rows that a running job has written and committed"),
    ("rejected", "Rows that a running job has rejected and committed"),
)
_WITH_PODS = (Phase.STARTING, Phase.RUNNING, Phase.FINALIZING)


def _own_jobs(cache: ObjectCache) -> Iterator[Item]:
    """All jobs but those of other controllers, whose state is not this operator's to tell."""
    return (job for job in cache.all(Kind.JOB) if not is_managed_elsewhere(job))


def _phase_of(job: Item) -> str:
    return (job.get("status") or {}).get("phase") or Phase.PENDING.value


def _failure_of(status: Mapping[str, Any]) -> tuple[str, datetime | None]:
    """Why the job failed, and when that was found: it may have ended while no operator ran."""
    for found in status.get("conditions") or ():
        if found["type"] == "Failed":
            return found["reason"], parse_time(found.get("lastTransitionTime"))
    return "", None


class _Rows:
    """Differences between what jobs said of their rows, one time and the next.

    The sum over all jobs falls when a job is deleted, and a counter must not. What a job had scored
    before it was first seen is not counted: a restart of the operator is no burst of work.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def new_rows(self, job: Mapping[str, Any]) -> int:
        uid = job["metadata"]["uid"]
        rows = ((job.get("status") or {}).get("progress") or {}).get("rowsProcessed") or 0
        before = self._known.setdefault(uid, rows)
        self._known[uid] = max(before, rows)
        return max(0, rows - before)

    def forget(self, job: Mapping[str, Any]) -> None:
        self._known.pop(job["metadata"]["uid"], None)

    def forget_all_but(self, uids: Iterable[str]) -> None:
        kept = frozenset(uids)
        self._known = {uid: rows for uid, rows in self._known.items() if uid in kept}
