"""Which time limit a job has missed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_operator.decide.progress import rows_processed
from batch_inference_operator.decide.record import parse_time, was_running
from batch_inference_operator.decide.verdict import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation, RunJob
    from batch_inference_operator.settings import Settings

DRIVER_GRACE_SECONDS = 30
"""The driver enforces `activeDeadlineSeconds` and leaves a report; only when it does not, we do."""


def find_missed_deadline(
    record: Record,
    run: RunJob,
    observation: Observation,
    *,
    waiting_for: str,
    now: datetime,
    settings: Settings,
) -> Failed | None:
    """The first limit that is over; `waiting_for` says what the pods lack, if anything."""
    if run.suspended:
        return None
    for limit, due, message in _limits(record, run, observation, settings=settings):
        if due <= now:
            return Failed(reason=limit, message=f"{message}{waiting_for and f': {waiting_for}'}")
    return None


def seconds_to_next_deadline(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> float | None:
    """How long it is until a limit could be missed."""
    dues = [due for _, due, _ in _limits(record, run, observation, settings=settings)]
    return max(0.0, (min(dues) - now).total_seconds()) if dues and not run.suspended else None


def remaining_seconds(record: Record, *, now: datetime) -> int | None:
    """What is left of `activeDeadlineSeconds`, which spans automatic runs; None: no limit."""
    limit = record.spec.active_deadline_seconds
    if limit is None:
        return None
    since = parse_time(record.status.start_time) or now
    return limit - int((now - since).total_seconds())


def _limits(
    record: Record, run: RunJob, observation: Observation, *, settings: Settings
) -> Iterator[tuple[Reason, datetime, str]]:
    spec = record.spec
    began = run.started or run.created
    active = spec.active_deadline_seconds
    if active is not None:
        start = parse_time(record.status.start_time) or began
        due = start + timedelta(seconds=active + DRIVER_GRACE_SECONDS)
        yield (
            Reason.DEADLINE_EXCEEDED,
            due,
            f"the job took longer than spec.activeDeadlineSeconds ({active} s)",
        )
    before_rows = spec.pre_running_deadline_seconds or settings.pre_running_deadline_seconds
    if before_rows and not _has_run(record, observation):
        due = began + timedelta(seconds=before_rows)
        yield (
            Reason.PRE_RUNNING_DEADLINE_EXCEEDED,
            due,
            f"the pods did not begin to score within {before_rows} s",
        )
    between = spec.progress_deadline_seconds or settings.progress_deadline_seconds
    last = _last_progress(record, run, observation)
    if between and last is not None:
        due = last + timedelta(seconds=between)
        yield Reason.PROGRESS_DEADLINE_EXCEEDED, due, f"no row was scored for {between} s"


def _has_run(record: Record, observation: Observation) -> bool:
    """Whether this run, or an earlier one, has begun to score."""
    if was_running(record.status) or rows_processed(record.status):
        return True
    report = observation.report
    return report is not None and report.phase in (RunPhase.RUNNING, RunPhase.FINALIZING)


def _last_progress(record: Record, run: RunJob, observation: Observation) -> datetime | None:
    """When a row was last scored in this run; None while that does not count.

    It does not count before the run scores, nor while it finalizes: then files are published, and
    no rows are scored.
    """
    report = observation.report
    if not _has_run(record, observation):
        return None
    if report is not None and (
        report.phase is RunPhase.FINALIZING or report.rows.processed > rows_processed(record.status)
    ):
        return None
    progress = record.status.progress
    updated = parse_time(progress.last_updated_time if progress else None)
    began = run.started or run.created
    return max(updated, began) if updated else began
