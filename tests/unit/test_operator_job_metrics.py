"""The series by which alerts name a job, and tell how long jobs have been waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from batch_inference_operator.cache import Kind, ObjectCache
from batch_inference_operator.decide.record import format_time
from batch_inference_operator.metrics import Metrics
from batch_inference_operator.names import run_labels


def series_of(status: dict) -> dict[str, tuple[dict[str, str], float]]:
    cache = ObjectCache()
    metadata = {"name": "churn", "namespace": "scoring", "uid": "u-1", "resourceVersion": "1"}
    cache.see(Kind.JOB, {"metadata": metadata, "status": status})
    text = generate_latest(
        Metrics(cache=cache, queue_depth=lambda: 0, resync_seconds=300).registry
    ).decode()
    return {
        sample.name.removeprefix("batch_inference_"): (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "job_name" in sample.labels
    }


def value_of(cache: ObjectCache, name: str, **labels: str) -> float | None:
    registry = Metrics(cache=cache, queue_depth=lambda: 0, resync_seconds=300).registry
    return registry.get_sample_value(f"batch_inference_{name}", labels)


NAMES = {"job_namespace": "scoring", "job_name": "churn"}
COUNTS = {
    "progress": {"rowsProcessed": 90},
    "completionStats": {"successfulCount": 70, "failedCount": 10},
}


def test_a_running_job_tells_of_its_rows():
    assert series_of({"phase": "Running", **COUNTS}) == {
        "job_rows_processed": (NAMES, 90),
        "job_rows_written": (NAMES, 70),
        "job_rows_rejected": (NAMES, 10),
    }


def test_a_job_that_has_scored_nothing_yet_tells_so():
    """Only what is there from the start can be seen to stand still."""
    assert series_of({"phase": "Starting"}) == {
        "job_rows_processed": (NAMES, 0),
        "job_rows_written": (NAMES, 0),
        "job_rows_rejected": (NAMES, 0),
    }


def test_a_failed_job_tells_why_and_since_when():
    conditions = [
        {"type": "Complete", "status": "False", "reason": "InputNotFound"},
        {
            "type": "Failed",
            "status": "True",
            "reason": "InputNotFound",
            "lastTransitionTime": "1970-01-01T00:10:00Z",
        },
    ]
    status = {"phase": "Failed", "conditions": conditions, **COUNTS}
    labels = {**NAMES, "reason": "InputNotFound"}
    assert series_of(status) == {
        "failed_job": (labels, 1),
        "failed_job_timestamp_seconds": (labels, 600),
    }


@pytest.mark.parametrize("phase", ["Pending", "Queued", "Suspended", "Succeeded"])
def test_a_job_without_pods_has_no_series(phase: str):
    assert series_of({"phase": phase, **COUNTS}) == {}


MINUTE = 60
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ELSEWHERE = {"managedBy": "example.com/other"}


def at(minutes: int) -> str:
    return format_time(NOON + timedelta(minutes=minutes))


def make_waiting_job(
    *,
    name: str = "churn",
    phase: str | None = "Pending",
    created: int = 0,
    resumed: int | None = None,
    scored: int | None = None,
    **changes: dict,
) -> dict:
    """A job with its times, in minutes."""
    status: dict = {"phase": phase}
    if resumed is not None:
        status["conditions"] = [{"type": "Reconciling", "lastTransitionTime": at(resumed)}]
    if scored is not None:
        status["progress"] = {"lastUpdatedTime": at(scored)}
    metadata = {"name": name, "namespace": "scoring", "uid": name, "resourceVersion": "1"}
    metadata |= {"creationTimestamp": at(created), **changes.get("metadata", {})}
    return {"metadata": metadata, "spec": changes.get("spec", {}), "status": status}


def oldest_wait(*jobs: dict, runs: tuple[dict, ...] = ()) -> float | None:
    """Since when a job waits, in minutes."""
    cache = ObjectCache()
    for job in jobs:
        cache.see(Kind.JOB, job)
    for run in runs:
        cache.see(Kind.RUN_JOB, run)
    found = value_of(cache, "oldest_wait_timestamp_seconds")
    return None if found is None else (found - NOON.timestamp()) / MINUTE


WAITS = {
    "one that nobody has looked at": ({"phase": None}, 0),
    "one whose pods start": ({"phase": "Starting", "resumed": 1}, 1),
    "one that was resumed": ({"resumed": 90}, 90),
    "one whose pods are made anew": ({"phase": "Starting", "resumed": 1, "scored": 300}, 300),
    "one that waits in a queue": ({"phase": "Queued"}, None),
    "one that is suspended": ({"phase": "Suspended"}, None),
    "one that scores": ({"phase": "Running"}, None),
    "one that has ended": ({"phase": "Failed"}, None),
    "one that is being deleted": ({"metadata": {"deletionTimestamp": at(5)}}, None),
    "one of another controller": ({"phase": None, "spec": ELSEWHERE}, None),
}


@pytest.mark.parametrize(("job", "expected"), WAITS.values(), ids=WAITS)
def test_a_wait_began_when_the_job_was_last_not_waiting(job: dict, expected: float | None):
    assert oldest_wait(make_waiting_job(**job)) == expected


def test_the_time_in_a_queue_is_no_wait():
    """A run's Job begins anew whenever its queue admits it, as batch/v1 says of startTime."""
    labels = run_labels("churn", "churn", 1)
    metadata = {"namespace": "scoring", "name": "churn-1", "uid": "run", "resourceVersion": "1"}
    run = {"metadata": {**metadata, "labels": labels}, "status": {"startTime": at(240)}}
    job = make_waiting_job(phase="Starting", resumed=1)
    assert oldest_wait(job, runs=(run,)) == 240


def test_the_longest_wait_is_told():
    jobs = [make_waiting_job(name=f"job-{number}", created=number) for number in (30, 10, 20)]
    assert oldest_wait(*jobs) == 10


def test_a_job_of_another_controller_is_not_counted():
    cache = ObjectCache()
    cache.see(Kind.JOB, make_waiting_job(name="theirs", phase=None, spec=ELSEWHERE))
    cache.see(Kind.JOB, make_waiting_job(name="ours", phase=None))
    assert value_of(cache, "jobs", phase="Pending") == 1
