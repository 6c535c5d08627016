"""What should happen next with a job: the questions, in the order in which they are asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.announcements import announce
from batch_inference_operator.decide.current_run import plan_run
from batch_inference_operator.decide.deadlines import remaining_seconds
from batch_inference_operator.decide.next_run import plan_after_unsettled, plan_next_run
from batch_inference_operator.decide.plan import Plan
from batch_inference_operator.decide.retention import plan_retention
from batch_inference_operator.decide.status import failed, succeeded, unreadable
from batch_inference_operator.decide.suspension import plan_suspension
from batch_inference_operator.decide.verdict import (
    Failed,
    Succeeded,
    Unsettled,
    judge,
    judge_kept,
)

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.decide.verdict import Verdict
    from batch_inference_operator.observation import Observation, RunJob
    from batch_inference_operator.settings import Settings


def plan_next(
    record: Record, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Say what should happen next with a job, its events included."""
    plan = _plan(record, observation, now=now, settings=settings)
    if plan.status is None:
        return plan
    return replace(plan, announcements=announce(record.status, plan.status))


def _plan(record: Record, observation: Observation, *, now: datetime, settings: Settings) -> Plan:
    if record.is_left_alone:
        return Plan()
    if record.is_finished:
        return plan_retention(record, observation, now=now, settings=settings)

    run = _current_run(record, observation)
    verdict = None
    if run is not None:
        verdict = _judge(record, run, observation, now=now) or judge_kept(run, observation, now=now)
    if run is not None and isinstance(verdict, Succeeded):
        return Plan(status=succeeded(record, run, verdict, now=now), is_urgent=True)
    if isinstance(verdict, Failed):
        return Plan(status=failed(record, run, verdict, now=now), is_urgent=True)
    if record.suspend:
        return plan_suspension(record, observation, now=now, settings=settings)
    if record.job is None:
        return _plan_unreadable(record, observation, now=now)
    if run is None:
        return plan_next_run(record, observation, now=now, settings=settings)
    if isinstance(verdict, Unsettled):
        return plan_after_unsettled(record, run, observation, verdict, now=now)
    return plan_run(record, run, observation, now=now, settings=settings)


def _current_run(record: Record, observation: Observation) -> RunJob | None:
    """The run to go on with: none that came before one that the status knows already."""
    run = observation.current_run
    return None if run is None or run.number < record.run_number else run


def _plan_unreadable(record: Record, observation: Observation, *, now: datetime) -> Plan:
    """A spec that is wrong ends the job; one that is only too new is left to a newer operator.

    What has a run could be read once: its pods are left alone, until the spec can be read again.
    """
    has_run = record.run_number or observation.jobs
    if has_run or record.is_skewed:
        return Plan(status=unreadable(record, now=now), is_urgent=True)
    verdict = Failed(reason=Reason.INVALID_SPEC, message=record.problem)
    return Plan(status=failed(record, None, verdict, now=now), is_urgent=True)


def _judge(
    record: Record, run: RunJob, observation: Observation, *, now: datetime
) -> Verdict | None:
    """A limit that was raised since the run began does not end the job: the next run has more."""
    verdict = judge(run, observation)
    if not isinstance(verdict, Failed) or record.job is None:
        return verdict
    raised = _raised_limit(record, run, verdict.reason, now=now)
    if raised is None:
        return verdict
    message = f"{raised} was raised since run {run.number} began, and ended by it"
    return Unsettled(reason=verdict.reason, message=message)


def _raised_limit(record: Record, run: RunJob, missed: str, *, now: datetime) -> str | None:
    """The field that allows more by now than the run, which has missed it, was told."""
    if missed == Reason.DEADLINE_EXCEEDED:
        remaining = remaining_seconds(record, run, now=now)
        is_raised = remaining is None or remaining > _CLOSE_SECONDS
        return "spec.activeDeadlineSeconds" if is_raised else None
    if missed == Reason.BACKOFF_LIMIT_EXCEEDED and run.backoff_limit is not None:
        is_raised = record.spec.backoff_limit > run.backoff_limit
        return "spec.backoffLimit" if is_raised else None
    return None


_CLOSE_SECONDS = 60
"""The clocks of the driver and of the status begin seconds apart, and are not the same."""
