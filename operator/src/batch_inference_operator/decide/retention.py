"""What remains of a finished job: the resource always, its pods until their time is up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batch_inference_operator.decide.plan import DeleteRun, Plan
from batch_inference_operator.decide.record import parse_time
from batch_inference_operator.decide.status import seen

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation, RunJob
    from batch_inference_operator.settings import Settings

LINGER_SECONDS = 60
"""A Job ends by itself some seconds after its index 0. One that does not is cleared away."""


def plan_retention(
    record: Record, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Clear away what is due, and note a generation that was edited after the end."""
    completed = parse_time(record.status.completion_time) or now
    ttl = _ttl_seconds(record, settings)
    dues = {
        job: due
        for job in observation.jobs
        if not job.being_deleted and (due := _due(job, completed=completed, ttl=ttl)) is not None
    }
    actions = tuple(
        DeleteRun(job_name=job.name, job_uid=job.uid) for job, due in dues.items() if due <= now
    )
    later = [(due - now).total_seconds() for due in dues.values() if due > now]
    status = seen(record) if record.status.observed_generation != record.generation else None
    return Plan(
        actions=actions,
        status=status,
        is_urgent=True,
        look_again_seconds=min(later, default=None),
    )


def _ttl_seconds(record: Record, settings: Settings) -> int | None:
    own = None if record.job is None else record.spec.ttl_seconds_after_finished
    if own is not None:
        return own
    default = settings.ttl_seconds_after_finished
    return default if default >= 0 else None


def _due(job: RunJob, *, completed: datetime, ttl: int | None) -> datetime | None:
    """When a Job is to be deleted; None: it is kept."""
    limits = [] if ttl is None else [ttl]
    if job.end is None:
        limits.append(LINGER_SECONDS)
    return completed + timedelta(seconds=min(limits)) if limits else None
