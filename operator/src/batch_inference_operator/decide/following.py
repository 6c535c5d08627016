"""A run that goes on: what it still needs, and what the status says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.runner_contract import RunPhase
from batch_inference_operator.decide.deadlines import (
    find_missed_deadline,
    remaining_seconds,
    seconds_to_next_deadline,
)
from batch_inference_operator.decide.plan import (
    Action,
    CreateCompanions,
    DeleteRun,
    Plan,
    ScaleRun,
)
from batch_inference_operator.decide.status import failed, in_progress
from batch_inference_operator.decide.succession import is_fenced
from batch_inference_operator.decide.troubles import find_trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation, RunJob
    from batch_inference_operator.settings import Settings

_STARTING_SECONDS = 1.0
"""How soon a run that has not begun to score is looked at again: its first rows show at once."""


def plan_run(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Keep a run going, or end it where a limit is over or its first pod is lost."""
    trouble = find_trouble(record, run, observation, now=now)
    missed = find_missed_deadline(
        record,
        run,
        observation,
        waiting_for=trouble.message if trouble else "",
        now=now,
        settings=settings,
    )
    delete = DeleteRun(job_name=run.name, job_uid=run.uid)
    if missed is not None:
        status = failed(record, missed, now=now)
        return Plan(actions=(delete,), status=status, is_urgent=True)
    status = in_progress(record, run, observation, trouble=trouble, now=now)
    if _is_head_lost(run, observation, now=now, settings=settings):
        return Plan(actions=(delete,), status=status)
    return Plan(
        actions=tuple(_keep_up(record, run, observation, now=now)),
        status=status,
        look_again_seconds=_look_again(record, run, observation, now=now, settings=settings),
    )


def _keep_up(
    record: Record, run: RunJob, observation: Observation, *, now: datetime
) -> Iterator[Action]:
    for job in observation.jobs:
        if job.number < run.number and not job.being_deleted:
            yield DeleteRun(job_name=job.name, job_uid=job.uid)
    if record.run_number != run.number:
        # The status names a run only after these were created: a crash in between repeats them.
        yield CreateCompanions(
            number=run.number,
            owner_name=run.name,
            owner_uid=run.uid,
            deadline_seconds=remaining_seconds(record, now=now),
        )
    workers = record.spec.workers.replicas
    if run.applied_workers != workers:
        yield ScaleRun(job_name=run.name, job_uid=run.uid, workers=workers)


def _is_head_lost(
    run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> bool:
    """Whether index 0 is on a node that does not answer: the Job controller would wait for ever."""
    heads = observation.heads_of(run.number)
    return (
        bool(heads) and not heads[-1].is_over and is_fenced(heads[-1], now=now, settings=settings)
    )


def _look_again(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> float | None:
    deadline = seconds_to_next_deadline(record, run, observation, now=now, settings=settings)
    if run.suspended:
        return deadline
    report = observation.report
    scores = report is not None and report.phase in (RunPhase.RUNNING, RunPhase.FINALIZING)
    has_rows = scores and report is not None and report.rows.processed > 0
    heads = observation.heads_of(run.number)
    starts = bool(heads) and heads[-1].running_since is not None and not has_rows
    again = _STARTING_SECONDS if starts else float(settings.progress_seconds)
    return again if deadline is None else min(again, max(deadline, _STARTING_SECONDS))
