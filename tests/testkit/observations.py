"""What the operator sees and knows of a job, valid and uneventful unless told otherwise.

Every factory has defaults for all there is; a test names only what it is about:

    record = make_record({"spec.suspend": True})
    plan = plan_for(record, observe(make_run(), make_pod(), make_report()))
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from batch_inference_api.runner_contract import (
    JobIdentity,
    ProgressReport,
    RowCounts,
    RunPhase,
    ShardCounts,
    WorkerCounts,
)
from batch_inference_api.v1alpha1.status import Condition, JobStatus
from batch_inference_operator.carry_out import status_document
from batch_inference_operator.decide.next_step import plan_next
from batch_inference_operator.decide.plan import Plan
from batch_inference_operator.decide.record import Record, read_record
from batch_inference_operator.observation import (
    ClusterWarning,
    JobEnd,
    Observation,
    Refusal,
    RunJob,
    RunPod,
    Termination,
)
from batch_inference_operator.settings import Settings
from testkit.operator_jobs import JOB_UID, make_stored_manifest

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
"""When tests happen."""
SETTINGS = Settings()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def instant(seconds_ago: float = 0) -> str:
    """The time so many seconds ago, as a status has it."""
    return ago(seconds_ago).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_record(
    changes: dict[str, Any] | None = None, *, status: dict[str, Any] | None = None
) -> Record:
    """Make a stored job with `changes` to its manifest by dotted path, and a status as JSON."""
    return read_record(
        make_stored_manifest(
            {"metadata.resourceVersion": "100", "status": status or {}} | (changes or {})
        )
    )


def stored(record: Record, status: JobStatus | None) -> Record:
    """The job as it is read back after its status was written; None: it was not."""
    if status is None:
        return record
    return replace(record, status=make_record(status=status_document(status)).status)


def running_status(*, number: int = 1, **changes: Any) -> dict[str, Any]:
    """Make the status of a job that has scored half of its rows, in run `number`."""
    return {
        "observedGeneration": 1,
        "phase": "Running",
        "startTime": instant(60),
        "progress": {
            "rowsProcessed": 500,
            "rowsTotal": 1000,
            "percentage": 50,
            "lastUpdatedTime": instant(5),
        },
        "shards": {"total": 10, "pending": 3, "active": 2, "succeeded": 5, "failed": 0},
        "run": named_run(number, attempt=1),
        **changes,
    }


def named_run(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Make `status.run` as it names the Job that `make_run` makes."""
    return {
        "number": number,
        "jobName": f"churn-run-{number}",
        "jobUid": f"uid-of-run-{number}",
        **changes,
    }


def finished_status(kind: str = "Complete", **changes: Any) -> dict[str, Any]:
    """Make the status of a job that ended a minute ago, as `Complete` or `Failed`."""
    condition = {
        "type": kind,
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": instant(60),
        "reason": "Succeeded" if kind == "Complete" else "ErrorThresholdExceeded",
        "message": "",
    }
    ended = {"phase": kind, "completionTime": instant(60), "conditions": [condition]}
    return running_status() | ended | changes


def make_run(number: int = 1, **changes: Any) -> RunJob:
    """Make the Job of a run that began a minute ago, with one pod."""
    defaults: dict[str, Any] = {
        "name": f"churn-run-{number}",
        "uid": f"uid-of-run-{number}",
        "number": number,
        "created": ago(60),
        "started": ago(60),
        "applied_workers": 1,
    }
    return RunJob(**defaults | changes)


def make_ended_run(end: JobEnd, reason: str = "", number: int = 1, **changes: Any) -> RunJob:
    """Make the Job of a run that the Job controller says is over."""
    return make_run(number, end=end, end_reason=reason, **changes)


def make_pod(index: int | None = 0, run: int = 1, **changes: Any) -> RunPod:
    """Make a pod that runs on a node since half a minute."""
    defaults: dict[str, Any] = {
        "name": f"churn-run-{run}-{index}",
        "uid": f"uid-of-pod-{run}-{index}",
        "run": run,
        "owner_uid": f"uid-of-run-{run}",
        "owner_name": f"churn-run-{run}",
        "index": index,
        "created": ago(60),
        "phase": "Running",
        "ip": "10.0.0.7",
        "node": "node-a",
        "running_since": ago(30),
    }
    return RunPod(**defaults | changes)


def make_waiting_pod(index: int = 0, run: int = 1, **changes: Any) -> RunPod:
    """Make a pod whose container does not run yet."""
    waiting = {"phase": "Pending", "running_since": None, "ip": None, "node": None}
    return make_pod(index, run, **waiting | changes)


def make_ended_pod(
    exit_code: int,
    report: ProgressReport | None = None,
    *,
    reason: str = "",
    message: str = "",
    index: int = 0,
    **changes: Any,
) -> RunPod:
    """Make a pod whose container ended with that exit code, and left that report."""
    end = Termination(exit_code=exit_code, reason=reason, report=report, message=message)
    ended = {
        "phase": "Failed" if exit_code else "Succeeded",
        "running_since": None,
        "termination": end,
    }
    return make_pod(index, **ended | changes)


def make_kept_pod(
    exit_code: int, seconds: float, report: ProgressReport | None = None, **changes: Any
) -> RunPod:
    """Make a pod that a sidecar has kept for so long since its runner ended."""
    pod = make_ended_pod(exit_code, report, phase="Running", **changes)
    assert pod.termination is not None
    return replace(pod, termination=replace(pod.termination, finished=ago(seconds)))


def make_report(phase: RunPhase = RunPhase.RUNNING, **changes: Any) -> ProgressReport:
    """Make a report of a run that has scored 600 of 1000 rows, 500 of them committed."""
    defaults: dict[str, Any] = {
        "job": JobIdentity(name="churn", namespace="scoring", uid=JOB_UID),
        "phase": phase,
        "rows": RowCounts(total=1000, processed=600, written=500),
        "shards": ShardCounts(total=10, pending=3, active=2, succeeded=5),
        "workers": WorkerCounts(desired=1, ready=1),
        "percentage": 60,
        "rows_per_second": 100,
        "estimated_remaining_seconds": 4,
        "cpu_seconds": 12,
    }
    return ProgressReport(**defaults | changes)


def make_success(**changes: Any) -> ProgressReport:
    """Make the final report of a run that scored all of 1000 rows and rejected 3."""
    defaults: dict[str, Any] = {
        "final": True,
        "rows": RowCounts(total=1000, processed=1000, written=997, rejected=3),
        "shards": ShardCounts(total=10, succeeded=10, completed_indexes="0-9"),
        "percentage": 100,
        "estimated_remaining_seconds": None,
    }
    return make_report(RunPhase.SUCCEEDED, **defaults | changes)


def make_failure(reason: str | None, message: str | None = None, **changes: Any) -> ProgressReport:
    """Make the final report of a run that failed for good."""
    defaults: dict[str, Any] = {"final": True, "reason": reason, "message": message}
    return make_report(RunPhase.FAILED, **defaults | changes)


def make_warning(reason: str, message: str, *, seconds_ago: float = 1) -> ClusterWarning:
    return ClusterWarning(reason=reason, message=message, seen=ago(seconds_ago))


def observe(
    *parts: object,
    unreachable_seconds: float = 0,
    poll_failure: str = "",
    is_poll_skewed: bool = False,
) -> Observation:
    """Put Jobs, pods, warnings, a report and a refusal together, each told by its type."""

    def every(kind: type) -> tuple[Any, ...]:
        return tuple(part for part in parts if isinstance(part, kind))

    return Observation(
        jobs=every(RunJob),
        pods=every(RunPod),
        warnings=every(ClusterWarning),
        report=next(iter(every(ProgressReport)), None),
        refusal=next(iter(every(Refusal)), None),
        unreachable_seconds=unreachable_seconds,
        poll_failure=poll_failure,
        is_poll_skewed=is_poll_skewed,
    )


def plan_for(
    record: Record,
    observation: Observation,
    *,
    now: datetime = NOW,
    settings: Settings = SETTINGS,
) -> Plan:
    return plan_next(record, observation, now=now, settings=settings)


def status_for(record: Record, observation: Observation, **given: Any) -> JobStatus:
    """The status that a plan holds, where it must hold one."""
    status = plan_for(record, observation, **given).status
    assert status is not None
    return status


def condition(status: JobStatus, kind: str) -> Condition:
    return next(found for found in status.conditions if found.type == kind)


def true_conditions(status: JobStatus) -> set[str]:
    return {found.type for found in status.conditions if found.status == "True"}


def why(status: JobStatus) -> tuple[str, str]:
    """The reason and the message of a job that goes on."""
    reconciling = condition(status, "Reconciling")
    assert reconciling.status == "True"
    return reconciling.reason, reconciling.message


def failure(status: JobStatus) -> tuple[str, str]:
    """The reason and the message of a job that failed."""
    failed = condition(status, "Failed")
    assert failed.status == "True"
    return failed.reason, failed.message
