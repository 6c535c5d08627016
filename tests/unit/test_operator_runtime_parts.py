"""A change leads to work, work that fails comes again, and what there is can be measured."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import generate_latest

from batch_inference_operator.cache import Kind, ObjectCache
from batch_inference_operator.cluster.api import Forbidden, NotFound, Unreachable
from batch_inference_operator.feed import Feed
from batch_inference_operator.health import Health
from batch_inference_operator.keys import Key
from batch_inference_operator.leadership import LeadershipLost, WithoutElection
from batch_inference_operator.metrics import Metrics
from batch_inference_operator.names import CHILD_SELECTOR, run_labels
from batch_inference_operator.progress_poll import PollOutcome
from batch_inference_operator.resync import Resync
from batch_inference_operator.work_queue import WorkQueue
from batch_inference_operator.workers import Workers

KEY = Key("team", "churn")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Parts:
    """The parts around the reconciler, without a cluster."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cache = ObjectCache()
        self.queue: WorkQueue[Key] = WorkQueue(clock=self.clock, random=lambda: 0.0)
        self.metrics = Metrics(
            cache=self.cache, queue_depth=lambda: self.queue.due, resync_seconds=300
        )
        self.health = Health(clock=self.clock, deadline_seconds=600)
        self.forgotten_pods: list[str] = []
        self.feed = Feed(
            cache=self.cache,
            queue=self.queue,
            metrics=self.metrics,
            forget_pod=self.forgotten_pods.append,
        )

    def metric(self, line: str) -> float | None:
        for found in generate_latest(self.metrics.registry).decode().splitlines():
            name, _, value = found.rpartition(" ")
            if name == line:
                return float(value)
        return None

    def workers(self, reconcile: Any, leadership: Any = None) -> Workers:
        return Workers(
            queue=self.queue,
            reconcile=reconcile,
            leadership=leadership or WithoutElection(),
            metrics=self.metrics,
            clock=self.clock,
        )


def make_job(*, rows: int | None = None, phase: str | None = None, version: int = 1) -> dict:
    job: dict[str, Any] = {
        "metadata": {
            "namespace": "team",
            "name": "churn",
            "uid": "uid-1",
            "resourceVersion": str(version),
        }
    }
    if rows is not None or phase is not None:
        job["status"] = {"phase": phase, "progress": {"rowsProcessed": rows}}
    return job


def make_pod(*, ours: bool = True) -> dict:
    labels = run_labels("churn", "uid-1", 1) if ours else {"app": "web"}
    metadata = {"namespace": "team", "name": "pod", "uid": "pod-1", "resourceVersion": "1"}
    return {"metadata": {**metadata, "labels": labels}}


def test_a_change_of_a_job_has_it_looked_at() -> None:
    parts = Parts()
    parts.feed.take(Kind.JOB, make_job(), is_deleted=False)
    assert asyncio.run(parts.queue.get()) == KEY
    assert parts.cache.get(Kind.JOB, KEY) is not None


def test_a_change_of_a_pod_has_its_job_looked_at() -> None:
    parts = Parts()
    parts.feed.take(Kind.POD, make_pod(), is_deleted=False)
    assert asyncio.run(parts.queue.get()) == KEY


def test_the_end_of_a_pod_is_remembered_and_its_job_looked_at() -> None:
    parts = Parts()
    parts.feed.take(Kind.POD, make_pod(), is_deleted=False)
    parts.feed.take(Kind.POD, make_pod(), is_deleted=True)
    assert parts.forgotten_pods == ["pod-1"]
    assert parts.cache.all(Kind.POD) == ()
    assert len(parts.queue) == 1


def test_a_pod_that_is_not_ours_has_nothing_looked_at() -> None:
    parts = Parts()
    parts.feed.take(Kind.POD, make_pod(ours=False), is_deleted=False)
    assert len(parts.queue) == 0


def test_rows_are_counted_from_when_a_job_was_first_seen_and_never_back() -> None:
    parts = Parts()
    parts.metrics.set_leading(is_leader=True)
    for version, rows in enumerate((100, 150, 120, 160), start=1):
        parts.feed.take(Kind.JOB, make_job(rows=rows, version=version), is_deleted=False)
    parts.feed.take(Kind.JOB, make_job(rows=170, version=2), is_deleted=False)  # late
    assert parts.metric("batch_inference_rows_processed_total") == 60


def test_of_several_replicas_only_the_one_that_works_counts_rows() -> None:
    """What a standby has seen counts no more once it leads."""
    parts = Parts()
    for version, rows in enumerate((100, 150), start=1):
        parts.feed.take(Kind.JOB, make_job(rows=rows, version=version), is_deleted=False)
    assert parts.metric("batch_inference_rows_processed_total") == 0
    parts.metrics.set_leading(is_leader=True)
    parts.feed.take(Kind.JOB, make_job(rows=160, version=3), is_deleted=False)
    assert parts.metric("batch_inference_rows_processed_total") == 10


def test_jobs_are_counted_by_phase_when_asked() -> None:
    parts = Parts()
    parts.feed.take(Kind.JOB, make_job(phase="Running"), is_deleted=False)
    assert parts.metric('batch_inference_jobs{phase="Running"}') == 1
    assert parts.metric('batch_inference_jobs{phase="Failed"}') == 0
    parts.feed.take(Kind.JOB, make_job(version=2), is_deleted=False)
    assert parts.metric('batch_inference_jobs{phase="Pending"}') == 1


def test_jobs_that_are_due_later_do_not_wait() -> None:
    """A finished job with a ttl is due in hours: that nobody looks at it until then is right."""
    parts = Parts()
    parts.queue.add_after(KEY, 3600)
    parts.queue.add(Key("team", "other"))
    assert parts.metric("batch_inference_queue_depth") == 1
    parts.clock.now = 3600
    assert parts.metric("batch_inference_queue_depth") == 2


def test_calls_polls_and_leadership_are_measured() -> None:
    parts = Parts()
    parts.metrics.count_call("create", "jobs", "201")
    parts.metrics.count_poll(PollOutcome.ANSWERED)
    parts.metrics.set_leading(is_leader=True)
    calls = 'batch_inference_api_calls_total{code="201",resource="jobs",verb="create"}'
    assert parts.metric(calls) == 1
    assert parts.metric('batch_inference_progress_polls_total{outcome="answered"}') == 1
    assert parts.metric("batch_inference_is_leader") == 1


def test_a_job_comes_again_when_it_asked_to() -> None:
    parts = Parts()
    seen = []

    async def reconcile(key: Key) -> float | None:
        seen.append((parts.clock.now, key))
        if len(seen) == 2:
            parts.queue.close()
            return None
        parts.clock.now += 5
        return 0

    parts.queue.add(KEY)
    asyncio.run(parts.workers(reconcile).work(3))
    assert seen == [(0, KEY), (5, KEY)]


def test_a_job_that_fails_comes_again_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = Parts()
    other = Key("team", "other")
    done = []

    async def reconcile(key: Key) -> float | None:
        if key == KEY:
            raise KeyError("spec")
        done.append(key)
        parts.queue.close()
        return None

    parts.queue.add(KEY)
    parts.queue.add(other)
    asyncio.run(parts.workers(reconcile).work(1))
    assert done == [other]
    assert len(parts.queue) == 1, "the one that failed waits"
    assert parts.metric('batch_inference_reconcile_errors_total{error="KeyError"}') == 1
    assert "reconcile failed" in caplog.text


def test_a_server_that_says_when_to_come_back_is_obeyed() -> None:
    parts = Parts()
    calls = []

    async def reconcile(_key: Key) -> float | None:
        calls.append(parts.clock.now)
        parts.queue.close()
        raise Unreachable("slow down", retry_after_seconds=30)

    parts.queue.add(KEY)
    asyncio.run(parts.workers(reconcile).work(1))
    parts.queue.add(KEY)
    assert parts.queue._schedule.next_due() == 30
    assert calls == [0]


def test_nothing_is_begun_once_the_lease_has_run_out() -> None:
    parts = Parts()
    parts.queue.add(KEY)

    class Expired(WithoutElection):
        is_current = False

    async def reconcile(_key: Key) -> float | None:
        raise AssertionError("began to work")

    with pytest.raises(LeadershipLost):
        asyncio.run(parts.workers(reconcile, Expired()).work(2))


class Lists:
    """Lists what there is; fails as often as told, and in a namespace that is forbidden."""

    def __init__(
        self, *, failures: int = 0, forbidden: str | None = None, **items: tuple[dict, ...]
    ) -> None:
        self.items = items
        self.failures = failures
        self.forbidden = forbidden
        self.asked: list[tuple[str, str | None, str]] = []

    async def list(self, kind: str, *, namespace: str | None, labels: str = "") -> tuple[dict, ...]:
        self.asked.append((kind, namespace, labels))
        if self.failures:
            self.failures -= 1
            raise NotFound("the server could not find the requested resource")
        if namespace is not None and namespace == self.forbidden:
            raise Forbidden("not allowed here")
        return self.items.get(kind, ())


class Poller:
    def __init__(self) -> None:
        self.kept: list[str] = []

    def forget_all_but(self, uids: Any) -> None:
        self.kept = list(uids)


def make_resync(parts: Parts, lists: Lists, namespaces: tuple[str, ...] = ()) -> Resync:
    return Resync(
        cluster=lists,  # type: ignore[arg-type]
        cache=parts.cache,
        queue=parts.queue,
        poller=Poller(),  # type: ignore[arg-type]
        metrics=parts.metrics,
        namespaces=namespaces,
        on_listed=parts.health.note_sync,
        on_synced=parts.metrics.note_sync,
        random=lambda: 0.5,
    )


def test_a_sync_lists_everything_and_has_every_job_looked_at() -> None:
    parts = Parts()
    lists = Lists(BatchInferenceJob=(make_job(),), Pod=(make_pod(),))
    asyncio.run(make_resync(parts, lists).sync())
    assert lists.asked == [
        ("BatchInferenceJob", None, ""),
        ("Job", None, CHILD_SELECTOR),
        ("Pod", None, CHILD_SELECTOR),
    ]
    assert asyncio.run(parts.queue.get()) == KEY
    assert parts.metric("batch_inference_last_sync_timestamp_seconds")


def test_a_sync_forgets_the_rows_of_a_job_whose_end_was_not_watched() -> None:
    parts = Parts()
    parts.feed.take(Kind.JOB, make_job(rows=100), is_deleted=False)
    asyncio.run(make_resync(parts, Lists(BatchInferenceJob=(make_job(rows=100),))).sync())
    assert parts.metrics._rows._known == {"uid-1": 100}
    asyncio.run(make_resync(parts, Lists()).sync())
    assert parts.metrics._rows._known == {}


def test_a_sync_of_some_namespaces_asks_for_nothing_else() -> None:
    parts = Parts()
    lists = Lists()
    asyncio.run(make_resync(parts, lists, ("a", "b")).sync())
    assert {namespace for _, namespace, _ in lists.asked} == {"a", "b"}


def test_a_namespace_that_cannot_be_listed_costs_no_other() -> None:
    parts = Parts()
    lists = Lists(forbidden="team-a", BatchInferenceJob=(make_job(),))
    resync = make_resync(parts, lists, ("team-a", KEY.namespace))
    asyncio.run(resync.until_synced())
    assert asyncio.run(parts.queue.get()) == KEY
    assert parts.health.is_ready
    assert not parts.metric("batch_inference_last_sync_timestamp_seconds"), "not everything"
    lists.forbidden = None
    asyncio.run(resync.sync())
    assert parts.metric("batch_inference_last_sync_timestamp_seconds")


def test_a_namespace_that_cannot_be_listed_is_tried_again_sooner_than_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    yield_to_others = asyncio.sleep

    async def sleep(seconds: float) -> None:
        await yield_to_others(0)
        pauses.append(seconds)
        if len(pauses) >= 8:
            raise RuntimeError("enough")

    monkeypatch.setattr("batch_inference_operator.resync.asyncio.sleep", sleep)
    resync = make_resync(Parts(), Lists(forbidden="team-a"), ("team-a", KEY.namespace))
    with pytest.raises(ExceptionGroup):
        asyncio.run(resync.repeat(300))
    assert pauses[:2] == [1, 1], "nothing was listed yet"
    assert {2, 4, 8, 300} <= set(pauses[2:])


def test_the_probe_fails_when_nothing_was_listed_for_too_long() -> None:
    clock = Clock()
    health = Health(clock=clock, deadline_seconds=600)
    assert health.is_alive
    assert not health.is_ready
    clock.now = 500
    health.note_sync()
    clock.now = 1100
    assert health.is_alive
    assert health.is_ready
    clock.now = 1101
    assert not health.is_alive
