"""The invariants of a job on a cluster, as one assertion to be made after every fault.

I1, I2  each row once, for readers of the manifest and of a plain glob; counts add up
I3      after success the output never changes
I4      at most one live head (`HeadRecorder`); nothing of a run is left behind
I5      a truthful status (`StatusRecorder`)
I8      no secret in status, events, logs or manifest
"""

from __future__ import annotations

import json

from testkit.cluster.kubectl import Manifest
from testkit.cluster_jobs import ClusterJob
from testkit.deadlines import wait_for
from testkit.operator_installation import logs_of_operator
from testkit.readers import visible_bytes
from testkit.s3_jobs import assert_no_secrets
from testkit.status_recorder import StatusRecorder

_CHILDREN = ("jobs.batch", "pods", "services", "secrets", "networkpolicies")
_GONE_SECONDS = 60


def assert_invariants(job: ClusterJob, recorder: StatusRecorder | None = None) -> None:
    """Assert all that can be asserted of a job that has succeeded."""
    assert_counts(job)
    job.assert_exact()
    before = visible_bytes(job.on_s3.out)
    tokens = job.tokens()
    if recorder is not None:
        recorder.assert_truthful()
        recorder.heads.assert_one_at_once()
        tokens |= recorder.heads.tokens
    assert_keeps_secrets(job, tokens)
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


def assert_keeps_secrets(job: ClusterJob, tokens: set[str]) -> None:
    """Neither what the store gave out nor a run's token is where people read."""
    assert tokens, "no run's token was seen"
    events = job.kubectl("get", "events", "-o", "json")
    logs = [_log_of(pod, job) for pod in job.pods()]
    manifest = json.dumps(job.on_s3.manifest()) if job.condition("Complete") else ""
    operator = logs_of_operator(job.kubectl)
    for text in (json.dumps(job.status()), events, *logs, manifest, operator):
        assert_no_secrets(text)
        assert not [token for token in tokens if token in text], text


def _log_of(pod: Manifest, job: ClusterJob) -> str:
    """A pod's log; none of one that is gone meanwhile, or whose container never started."""
    name = pod["metadata"]["name"]
    read = job.kubectl.attempt("logs", name)
    if read.returncode != 0:
        assert not _has_started(job.kubectl.find("pod", name)), read.stderr
    return read.stdout


def _has_started(pod: Manifest | None) -> bool:
    statuses = pod["status"].get("containerStatuses", []) if pod else []
    return any("waiting" not in status["state"] for status in statuses)


def assert_nothing_is_left(job: ClusterJob, *, seconds: float = _GONE_SECONDS) -> None:
    """I4: no child of any run is there any more, or will be soon."""
    wait_for(
        lambda: not any(job.kubectl.list(kind, labels=job.selector) for kind in _CHILDREN),
        seconds=seconds,
        what=f"the children of {job.name} to be gone",
        explain=lambda: job.kubectl("get", ",".join(_CHILDREN), f"--selector={job.selector}"),
    )
