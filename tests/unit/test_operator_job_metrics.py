"""The series by which alerts name a job."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from batch_inference_operator.cache import Kind, ObjectCache
from batch_inference_operator.metrics import Metrics


def series_of(status: dict) -> dict[str, tuple[dict[str, str], float]]:
    cache = ObjectCache()
    metadata = {"name": "churn", "namespace": "scoring", "uid": "u-1", "resourceVersion": "1"}
    cache.see(Kind.JOB, {"metadata": metadata, "status": status})
    text = generate_latest(Metrics(cache=cache, queue_depth=lambda: 0).registry).decode()
    return {
        sample.name.removeprefix("batch_inference_"): (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "job_name" in sample.labels
    }


def value_of(cache: ObjectCache, name: str, **labels: str) -> float | None:
    registry = Metrics(cache=cache, queue_depth=lambda: 0).registry
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


def test_a_failed_job_tells_why():
    conditions = [
        {"type": "Complete", "status": "False", "reason": "InputNotFound"},
        {"type": "Failed", "status": "True", "reason": "InputNotFound"},
    ]
    status = {"phase": "Failed", "conditions": conditions, **COUNTS}
    assert series_of(status) == {"failed_job": ({**NAMES, "reason": "InputNotFound"}, 1)}


@pytest.mark.parametrize("phase", ["Pending", "Queued", "Suspended", "Succeeded"])
def test_a_job_without_pods_has_no_series(phase: str):
    assert series_of({"phase": phase, **COUNTS}) == {}


def test_a_job_of_another_controller_is_not_counted():
    cache = ObjectCache()
    metadata = {"name": "churn", "namespace": "scoring", "uid": "u-1", "resourceVersion": "1"}
    cache.see(Kind.JOB, {"metadata": metadata, "spec": {"managedBy": "example.com/other"}})
    assert value_of(cache, "jobs", phase="Pending") == 0
