"""The status of a job, as a whole, from what was decided; and when it is worth writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_api.v1alpha1.status import Phase, RunStatus, WorkerStatus
from batch_inference_operator.decide.bounds import as_count
from batch_inference_operator.decide.conditions import State, conditions_of
from batch_inference_operator.decide.head import head_uid, is_head_up
from batch_inference_operator.decide.progress import (
    at_rest,
    rows_processed,
    shards_committed,
    with_report,
)
from batch_inference_operator.decide.record import format_time, start_of, was_running
from batch_inference_operator.decide.verdict import Succeeded
from batch_inference_operator.durations import format_duration
from batch_inference_operator.names import KUEUE_QUEUE_LABEL

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_api.v1alpha1.status import JobStatus
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.decide.scene import Trouble
    from batch_inference_operator.decide.verdict import Failed
    from batch_inference_operator.observation import Observation, RunJob

_PHASES = {
    RunPhase.RUNNING: Phase.RUNNING,
    RunPhase.FINALIZING: Phase.FINALIZING,
    RunPhase.SUCCEEDED: Phase.FINALIZING,  # for as long as its pod does not say so by ending
}
_MESSAGES = {
    Phase.PENDING: "the job's pods are about to be created",
    Phase.QUEUED: "the job waits in its queue to be admitted",
    Phase.STARTING: "the pods start, and the run is planned",
    Phase.RUNNING: "rows are scored",
    Phase.FINALIZING: "all rows are scored; the manifest is written",
}
_HELD_BY_SOMEBODY = (
    "the run's Job is suspended, and no queue label says why: it goes on when whoever did that, a "
    "default queue or a person, sets spec.suspend of the Job to false"
)
_QUIET_SECONDS = 30.0
"""Progress of less than half a percent is written this seldom."""


def in_a_run(
    record: Record,
    run: RunJob,
    observation: Observation,
    *,
    trouble: Trouble | None,
    now: datetime,
) -> JobStatus:
    """The status of a job whose run goes on."""
    report = observation.report
    status = record.status
    if report is not None:
        pod_uid = head_uid(run, observation)
        status = with_report(status, report, pod_uid=pod_uid, now=now)
    elif not is_head_up(run, observation):
        status = at_rest(status)
    if observation.refusal is None or record.names(run):
        # Otherwise what its pods need was refused, and is to be created yet.
        status = _with_run(record, status, run, report)
    phase = _phase(record, run, observation, trouble=trouble)
    desired = record.spec.workers.replicas
    ready = _ready(run, observation)
    status = status.model_copy(
        update={"phase": phase, "workers": _workers(desired, min(ready, desired))}
    )
    status = _with_start(record, status, run, now=now)
    reason = trouble.reason if trouble else phase.value
    message = trouble.message if trouble else _message(record, phase)
    return _judged(record, status, State.IN_PROGRESS, reason, message, report=report, now=now)


def between_runs(record: Record, trouble: Trouble, *, latest_run: int, now: datetime) -> JobStatus:
    """The status of a job that has no run just now, and why it has none."""
    status = at_rest(record.status).model_copy(
        update={"phase": Phase.PENDING, "workers": _workers(0, 0)}
    )
    if latest_run > record.run_number:
        known = record.status.run or RunStatus()
        run = RunStatus().model_copy(update={"number": latest_run, "unreported": known.unreported})
        status = status.model_copy(update={"run": run})
    status = _with_start(record, status, None, now=now)
    return _judged(
        record, status, State.IN_PROGRESS, trouble.reason, trouble.message, report=None, now=now
    )


def suspended(record: Record, *, now: datetime) -> JobStatus:
    """The status of a job without pods that may go on later."""
    status = without_start(at_rest(record.status)).model_copy(
        update={"phase": Phase.SUSPENDED, "workers": _workers(0, 0)}
    )
    message = "suspended by spec.suspend; what is committed stays"
    if record.problem:
        message += f"; correct the spec before it goes on: {record.problem}"
    return _judged(record, status, State.SUSPENDED, "Suspended", message, report=None, now=now)


def without_start(status: JobStatus) -> JobStatus:
    """The status of a job that is to begin anew: the time until it resumes does not count."""
    return status.model_copy(update={"start_time": None})


def succeeded(record: Record, run: RunJob, verdict: Succeeded, *, now: datetime) -> JobStatus:
    """The status of a job all of whose rows are accounted for."""
    report = verdict.report
    status = with_report(record.status, report, pod_uid=verdict.pod_uid, now=now)
    status = _with_run(record, status, run, report)
    status = _ended(record, status, run, verdict, now=now)
    message = _sum_up(status)
    return _judged(record, status, State.COMPLETE, "Succeeded", message, report=report, now=now)


def failed(record: Record, run: RunJob | None, verdict: Failed, *, now: datetime) -> JobStatus:
    """The status of a job that ended without its result, in a run or before there was one."""
    report, status = verdict.report, record.status
    if report is not None:
        status = with_report(status, report, pod_uid=verdict.pod_uid, now=now)
    if run is not None:
        status = _with_run(record, status, run, report)
    status = _ended(record, status, run, verdict, now=now)
    return _judged(
        record, status, State.FAILED, verdict.reason, verdict.message, report=report, now=now
    )


def seen(record: Record) -> JobStatus:
    """The status of a finished job that was edited: nothing but the generation changes."""
    conditions = tuple(
        condition.model_copy(update={"observed_generation": record.generation})
        for condition in record.status.conditions
    )
    return record.status.model_copy(
        update={"observed_generation": record.generation, "conditions": conditions}
    )


def unreadable(record: Record, *, now: datetime) -> JobStatus:
    """The status of a job whose spec is wrong or of another release: its pods are left alone."""
    advice = (
        "use an operator and a CRD of one release"
        if record.is_skewed
        else "suspend the job, correct the spec, and resume it"
    )
    message = (
        f"this operator cannot read the spec and leaves the job as it is: {record.problem}; "
        f"{advice}"
    )
    is_resumed = record.status.phase is Phase.SUSPENDED
    status = (
        record.status.model_copy(update={"phase": Phase.PENDING}) if is_resumed else record.status
    )
    return _judged(
        record,
        status,
        State.IN_PROGRESS,
        Reason.VERSION_SKEW if record.is_skewed else Reason.INVALID_SPEC,
        message,
        report=None,
        now=now,
    )


def is_worth_writing(
    before: JobStatus,
    after: JobStatus,
    *,
    is_urgent: bool,
    since_last_seconds: float,
    interval: float,
) -> bool:
    """Whether a status should be written now: every write prints a line under `kubectl get -w`."""
    if without_clock(before) == without_clock(after):
        return False
    if is_urgent or _told_at_once(before) != _told_at_once(after):
        return True
    if since_last_seconds < interval:
        return False
    return (
        _told(before) != _told(after)
        or _is_a_leap(before, after)
        or since_last_seconds >= _QUIET_SECONDS
    )


def without_clock(status: JobStatus) -> JobStatus:
    """The status without what changes every second."""
    return status.model_copy(update={"duration": None})


def _told_at_once(status: JobStatus) -> object:
    """Where the job stands: programs wait for it."""
    return (
        status.observed_generation,
        status.phase,
        status.run,
        tuple((condition.type, condition.status) for condition in status.conditions),
    )


def _told(status: JobStatus) -> object:
    """Why it stands there: a scheduler may find other words every second."""
    return tuple((condition.reason, condition.message) for condition in status.conditions)


def _is_a_leap(before: JobStatus, after: JobStatus) -> bool:
    """Whether rows moved by half a percent, or began to move."""
    scored, scored_before = rows_processed(after), rows_processed(before)
    total = (after.progress.rows_total if after.progress else None) or 0
    moved = scored - scored_before
    return moved > 0 and (scored_before == 0 or moved * 200 >= max(total, scored))


def _phase(
    record: Record, run: RunJob, observation: Observation, *, trouble: Trouble | None
) -> Phase:
    if run.suspended:
        return Phase.QUEUED
    report = observation.report
    if report is not None and report.phase in _PHASES:
        return _PHASES[report.phase]
    is_up = is_head_up(run, observation)
    tells_nothing = report is None or report.final
    if is_up and tells_nothing and was_running(record.status) and record.run_number == run.number:
        return record.status.phase or Phase.STARTING  # it only did not answer, or is about to end
    return Phase.PENDING if trouble is not None and not is_up else Phase.STARTING


def _message(record: Record, phase: Phase) -> str:
    if phase is Phase.QUEUED and KUEUE_QUEUE_LABEL not in record.readable_job.metadata.labels:
        return _HELD_BY_SOMEBODY
    return _MESSAGES[phase]


def _with_run(
    record: Record, status: JobStatus, run: RunJob, report: ProgressReport | None
) -> JobStatus:
    """The status that names the run, and counts anew once it has committed something."""
    before = record.status.run or RunStatus()
    attempt = before.attempt if before.number == run.number else None
    if report is not None:
        attempt = as_count(max(attempt or 0, report.attempt))
    progressed = shards_committed(status) > shards_committed(record.status)
    named = RunStatus().model_copy(
        update={
            "number": run.number,
            "job_name": run.name,
            "job_uid": run.uid,
            "attempt": attempt,
            "unreported": None if progressed else before.unreported,
        }
    )
    return status.model_copy(update={"run": named})


def _with_start(
    record: Record, status: JobStatus, run: RunJob | None, *, now: datetime
) -> JobStatus:
    began = start_of(record, run)
    changes = {
        "start_time": None if began is None else format_time(began),
        "duration": None if began is None else format_duration((now - began).total_seconds()),
    }
    return status.model_copy(update=changes)


def _ready(run: RunJob, observation: Observation) -> int:
    """How many pods score: a driver may count several scorers of a pod, and ones that are gone."""
    if observation.report is None:
        return 0
    running = sum(pod.is_running for pod in observation.pods_of(run))
    return max(0, min(observation.report.workers.ready, running))


def _workers(desired: int, ready: int) -> WorkerStatus:
    return WorkerStatus().model_copy(update={"desired": desired, "ready": ready})


def _ended(
    record: Record,
    status: JobStatus,
    run: RunJob | None,
    verdict: Succeeded | Failed,
    *,
    now: datetime,
) -> JobStatus:
    ended_at = min(verdict.ended or now, now)
    phase = Phase.SUCCEEDED if isinstance(verdict, Succeeded) else Phase.FAILED
    ended = at_rest(status).model_copy(
        update={
            "phase": phase,
            "completion_time": format_time(ended_at),
            "workers": _workers(0, 0),
        }
    )
    return _with_start(record, ended, run, now=ended_at)


def _sum_up(status: JobStatus) -> str:
    done = status.completion_stats
    written = (done.successful_count if done else None) or 0
    rejected = (done.failed_count if done else None) or 0
    return f"{written} rows written" + (f", {rejected} rejected" if rejected else "")


def _judged(
    record: Record,
    status: JobStatus,
    state: State,
    reason: str,
    message: str,
    *,
    report: ProgressReport | None,
    now: datetime,
) -> JobStatus:
    conditions = conditions_of(
        state,
        reason=reason,
        message=message,
        report=report,
        previous=record.status.conditions,
        generation=record.generation,
        now=now,
    )
    return status.model_copy(
        update={"observed_generation": record.generation, "conditions": conditions}
    )
