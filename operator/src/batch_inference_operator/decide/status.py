"""The status of a job, as a whole, from what was decided; and when it is worth writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_api.v1alpha1.status import Phase, RunStatus, WorkerStatus
from batch_inference_operator.decide.conditions import State, conditions_of
from batch_inference_operator.decide.progress import (
    at_the_end,
    rows_processed,
    shards_committed,
    with_report,
)
from batch_inference_operator.decide.record import format_time, parse_time, was_running

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_api.v1alpha1.status import JobStatus
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.decide.troubles import Trouble
    from batch_inference_operator.decide.verdict import Failed, Succeeded
    from batch_inference_operator.observation import Observation, RunJob

_PHASES = {RunPhase.RUNNING: Phase.RUNNING, RunPhase.FINALIZING: Phase.FINALIZING}
_MESSAGES = {
    Phase.PENDING: "the job's pods are about to be created",
    Phase.QUEUED: "the job waits in its queue to be admitted",
    Phase.STARTING: "the pods start, and the run is planned",
    Phase.RUNNING: "rows are scored",
    Phase.FINALIZING: "all rows are scored; the manifest is written",
}
_QUIET_SECONDS = 30.0
"""Progress of less than half a percent is written this seldom."""


def in_progress(
    record: Record,
    run: RunJob | None,
    observation: Observation | None,
    *,
    trouble: Trouble | None,
    now: datetime,
) -> JobStatus:
    """The status of a job that goes on; `run` is its current one, if there is one."""
    report = observation.report if observation is not None else None
    status = record.status
    committed_before = shards_committed(status)
    if report is not None:
        status = with_report(status, report, now=now)
    phase = _phase(record, run, observation, trouble=trouble)
    reason = trouble.reason if trouble else phase.value
    message = trouble.message if trouble else _MESSAGES[phase]
    began = _began(record, run)
    changes: dict[str, object] = {
        "phase": phase,
        "workers": _workers(record, run, report),
        "start_time": began,
        "duration": None if began is None else _duration(began, now),
    }
    if run is not None:
        progressed = shards_committed(status) > committed_before
        changes["run"] = _run(record, run, report, progressed=progressed)
    status = status.model_copy(update=changes)
    return _judged(record, status, State.IN_PROGRESS, reason, message, report=report, now=now)


def suspended(record: Record, *, now: datetime) -> JobStatus:
    """The status of a job without pods that may go on later."""
    status = at_the_end(record.status).model_copy(
        update={
            "phase": Phase.SUSPENDED,
            "start_time": None,
            "workers": WorkerStatus().model_copy(update={"desired": 0, "ready": 0}),
        }
    )
    message = "suspended by spec.suspend; what is committed stays"
    return _judged(record, status, State.SUSPENDED, "Suspended", message, report=None, now=now)


def succeeded(record: Record, verdict: Succeeded, *, now: datetime) -> JobStatus:
    """The status of a job all of whose rows are accounted for."""
    status = with_report(record.status, verdict.report, now=now)
    written = status.completion_stats.successful_count if status.completion_stats else 0
    rejected = status.completion_stats.failed_count if status.completion_stats else 0
    message = f"{written} rows written" + (f", {rejected} rejected" if rejected else "")
    ended = _ended(status, Phase.SUCCEEDED, now=now)
    return _judged(
        record, ended, State.COMPLETE, "Succeeded", message, report=verdict.report, now=now
    )


def failed(record: Record, verdict: Failed, *, now: datetime) -> JobStatus:
    """The status of a job that ended without its result."""
    report = verdict.report
    status = record.status if report is None else with_report(record.status, report, now=now)
    ended = _ended(status, Phase.FAILED, now=now)
    return _judged(
        record, ended, State.FAILED, verdict.reason, verdict.message, report=report, now=now
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
    """The status of a job whose spec another release wrote: its pods are left alone."""
    message = (
        f"this operator cannot read the spec and leaves the job as it is: {record.problem}; use an "
        "operator and a CRD of one release"
    )
    return _judged(
        record,
        record.status,
        State.IN_PROGRESS,
        Reason.VERSION_SKEW,
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
    if _without_clock(before) == _without_clock(after):
        return False
    if is_urgent or _told(before) != _told(after):
        return True
    if since_last_seconds < interval:
        return False
    moved = rows_processed(after) - rows_processed(before)
    total = (after.progress.rows_total if after.progress else None) or 0
    small = rows_processed(before) > 0 and moved * 200 < max(total, rows_processed(after))
    return not small or since_last_seconds >= _QUIET_SECONDS


def _told(status: JobStatus) -> object:
    """What changes are told at once: where the job stands, and why."""
    return (
        status.observed_generation,
        status.phase,
        tuple((c.type, c.status, c.reason, c.message) for c in status.conditions),
        status.run,
    )


def _without_clock(status: JobStatus) -> JobStatus:
    return status.model_copy(update={"duration": None})


def _phase(
    record: Record,
    run: RunJob | None,
    observation: Observation | None,
    *,
    trouble: Trouble | None,
) -> Phase:
    if run is None or observation is None:
        return Phase.PENDING
    if run.suspended:
        return Phase.QUEUED
    report = observation.report
    if report is not None:
        return _PHASES.get(report.phase, Phase.STARTING)
    heads = observation.heads_of(run.number)
    is_up = bool(heads) and heads[-1].running_since is not None and not heads[-1].is_over
    if is_up and was_running(record.status) and record.run_number == run.number:
        return record.status.phase or Phase.STARTING  # it only did not answer just now
    return Phase.PENDING if trouble is not None and not is_up else Phase.STARTING


def _workers(record: Record, run: RunJob | None, report: ProgressReport | None) -> WorkerStatus:
    desired = record.spec.workers.replicas if run is not None else 0
    ready = report.workers.ready if report is not None and run is not None else 0
    return WorkerStatus().model_copy(update={"desired": desired, "ready": min(ready, desired)})


def _run(
    record: Record, run: RunJob, report: ProgressReport | None, *, progressed: bool
) -> RunStatus:
    before = record.status.run or RunStatus()
    same = before.number == run.number
    known = before.attempt if same else None
    return RunStatus().model_copy(
        update={
            "number": run.number,
            "job_name": run.name,
            "attempt": max(known or 0, report.attempt) if report is not None else known,
            "unreported": None if progressed else before.unreported,
        }
    )


def _began(record: Record, run: RunJob | None) -> str | None:
    if record.status.start_time is not None or run is None or run.suspended:
        return record.status.start_time
    return format_time(run.started or run.created)


def _ended(status: JobStatus, phase: Phase, *, now: datetime) -> JobStatus:
    began = status.start_time
    return at_the_end(status).model_copy(
        update={
            "phase": phase,
            "completion_time": format_time(now),
            "duration": None if began is None else _duration(began, now),
            "workers": WorkerStatus().model_copy(update={"desired": 0, "ready": 0}),
        }
    )


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


def _duration(began: str, now: datetime) -> str:
    """`6m12s`, as kubectl writes it."""
    start = parse_time(began)
    assert start is not None
    seconds = max(0, int((now - start).total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
