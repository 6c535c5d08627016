"""Which time limit a job has missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_operator.decide.conditions import PLANNED
from batch_inference_operator.decide.head import head_uid, is_head_silent
from batch_inference_operator.decide.progress import got_on_at, rows_processed
from batch_inference_operator.decide.record import parse_time, start_of
from batch_inference_operator.decide.verdict import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation, RunJob
    from batch_inference_operator.settings import Settings

DRIVER_GRACE_SECONDS = 30
"""The driver enforces `activeDeadlineSeconds` and leaves a report; only when it does not, we do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """A time limit that applies now."""

    reason: Reason
    since: datetime
    seconds: int
    message: str

    def left_seconds(self, now: datetime) -> float:
        return self.seconds - (now - self.since).total_seconds()


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
    for limit in _limits(record, run, observation, now=now, settings=settings):
        if limit.left_seconds(now) <= 0:
            message = f"{limit.message}: {waiting_for}" if waiting_for else limit.message
            return Failed(
                reason=limit.reason,
                message=message,
                report=observation.report,
                pod_uid=head_uid(run, observation),
            )
    return None


def seconds_to_next_deadline(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> float | None:
    """How long it is until a limit could be missed."""
    limits = _limits(record, run, observation, now=now, settings=settings)
    return min((max(0.0, limit.left_seconds(now)) for limit in limits), default=None)


def remaining_seconds(record: Record, run: RunJob | None, *, now: datetime) -> int | None:
    """What is left of `activeDeadlineSeconds`, which spans automatic runs; None: no limit."""
    limit = record.spec.active_deadline_seconds
    if limit is None:
        return None
    since = start_of(record, run) or now
    return limit - int((now - since).total_seconds())


def pre_running_seconds(record: Record, settings: Settings) -> int:
    """How long a job may take until it begins to score; 0: as long as it likes."""
    return record.spec.pre_running_deadline_seconds or settings.pre_running_deadline_seconds


def _limits(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> Iterator[_Limit]:
    """The limits that apply; none does while a queue holds the job back."""
    if run.suspended:
        return
    active = record.spec.active_deadline_seconds
    began = start_of(record, run)
    if active is not None and began is not None:
        yield _Limit(
            reason=Reason.DEADLINE_EXCEEDED,
            since=began,
            seconds=active + DRIVER_GRACE_SECONDS,
            message=f"the job took longer than spec.activeDeadlineSeconds ({active} s)",
        )
    if not is_head_silent(run, observation):
        # A run that only cannot be reached may be scoring all the time.
        yield from _limits_of_progress(record, run, observation, now=now, settings=settings)


def _limits_of_progress(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> Iterator[_Limit]:
    before_rows = pre_running_seconds(record, settings)
    has_run = _has_run(record, observation)
    if before_rows and not has_run:
        yield _Limit(
            reason=Reason.PRE_RUNNING_DEADLINE_EXCEEDED,
            since=run.started or run.created,
            seconds=before_rows,
            message=f"the pods did not begin to score within {before_rows} s",
        )
    between = record.spec.progress_deadline_seconds or settings.progress_deadline_seconds
    if between and has_run and not _gets_on(record, observation):
        yield _Limit(
            reason=Reason.PROGRESS_DEADLINE_EXCEEDED,
            since=_last_progress(record, run, observation.report, now=now),
            seconds=between,
            message=f"no row was scored for {between} s",
        )


def _has_run(record: Record, observation: Observation) -> bool:
    """Whether this run, or an earlier one, has begun to score.

    Its phase does not tell: a run whose first pod is replaced starts anew.
    """
    verified = record.condition("SchemaValid")
    if (verified is not None and verified.status == "True") or rows_processed(record.status):
        return True
    return observation.report is not None and observation.report.phase in PLANNED


def _gets_on(record: Record, observation: Observation) -> bool:
    """Whether the run has ended, or has scored rows that the status does not know yet."""
    report = observation.report
    return report is not None and (
        report.phase is RunPhase.SUCCEEDED or report.rows.processed > rows_processed(record.status)
    )


def _last_progress(
    record: Record, run: RunJob, report: ProgressReport | None, *, now: datetime
) -> datetime:
    """When a row was last scored, also again, or published, or when this run began."""
    progress = record.status.progress
    known = parse_time(progress.last_updated_time if progress else None)
    told = got_on_at(report, now=now) if report is not None else None
    return max(at for at in (known, told, run.started or run.created) if at is not None)
