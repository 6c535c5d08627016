"""The invariants of a job on a cluster, as one assertion to be made after every fault.

I1, I2  each row once, for readers of the manifest and of a plain glob; counts add up
I3      after success the output never changes
I4      at most one live head; nothing of a run is left behind
I5      a truthful status (`StatusRecorder`)
I8      no secret in status, events, logs or manifest
"""

from __future__ import annotations

import json

from testkit.cluster_jobs import ClusterJob
from testkit.deadlines import wait_for
from testkit.readers import visible_bytes
from testkit.s3_jobs import assert_no_secrets
from testkit.status_recorder import StatusRecorder

_CHILDREN = "jobs.batch,pods,services,secrets,networkpolicies"
_GONE_SECONDS = 60


def assert_invariants(job: ClusterJob, recorder: StatusRecorder | None = None) -> None:
    """Assert all that can be asserted of a job that has succeeded."""
    assert_counts(job)
    job.assert_exact()
    before = visible_bytes(job.on_s3.out)
    assert_one_live_head(job)
    if recorder is not None:
        recorder.assert_truthful()
    assert_keeps_secrets(job)
    assert visible_bytes(job.on_s3.out) == before


def assert_counts(job: ClusterJob) -> None:
    """The status of a complete job says what the manifest says."""
    status, counts = job.status(), job.on_s3.manifest()["counts"]
    stats = status["completionStats"]
    assert stats["successfulCount"] == counts["written"] == job.rows
    assert stats.get("failedCount", 0) == counts["rejected"]
    assert stats.get("incompleteCount", 0) == 0
    assert status["progress"]["percentage"] == 100
    assert status["shards"]["succeeded"] == status["shards"]["total"]


def assert_one_live_head(job: ClusterJob) -> None:
    """Of all runs at most one has an index 0 that is not over."""
    heads = [
        pod["metadata"]["name"]
        for pod in job.pods()
        if pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0"
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
        and "deletionTimestamp" not in pod["metadata"]
    ]
    assert len(heads) <= 1, heads


def assert_keeps_secrets(job: ClusterJob) -> None:
    """Neither what the store gave out nor the run's token is where people read."""
    events = job.kubectl("get", "events", "-o", "json")
    logs = [job.kubectl.attempt("logs", pod["metadata"]["name"]).stdout for pod in job.pods()]
    manifest = json.dumps(job.on_s3.manifest()) if job.condition("Complete") else ""
    for text in (json.dumps(job.status()), events, *logs, manifest):
        assert_no_secrets(text)


def assert_nothing_is_left(job: ClusterJob, *, seconds: float = _GONE_SECONDS) -> None:
    """I4: no child of any run is there any more, or will be soon."""
    wait_for(
        lambda: not job.kubectl.list(_CHILDREN, job.selector),
        seconds=seconds,
        what=f"the children of {job.name} to be gone",
        explain=lambda: job.kubectl("get", _CHILDREN, job.selector),
    )
