"""What remains of a finished job: the resource always, its pods until their time is up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_operator.decide.plan import DeleteRun, Plan
from batch_inference_operator.decide.record import parse_time
from batch_inference_operator.decide.status import seen
from batch_inference_operator.decide.verdict import judge

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation, RunJob
    from batch_inference_operator.settings import Settings

LINGER_SECONDS = 60
"""A Job ends by itself some seconds after its index 0 said how the run ended."""
ABANDONED_SECONDS = 5
"""A Job whose index 0 has not reported how the run ended, because a deadline was missed, does not
end by itself. It is kept for so long, because the report may merely not be in the cache yet."""


def plan_retention(
    record: Record, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Clear away what is due, and note a generation that was edited after the end."""
    kept_seconds = (now - _when_told(record, now=now)).total_seconds()
    ttl = _ttl_seconds(record, settings)
    left = {
        job: limit - kept_seconds
        for job in observation.jobs
        if not job.being_deleted
        and (limit := _limit_seconds(job, observation, ttl=ttl)) is not None
    }
    actions = tuple(
        DeleteRun(job_name=job.name, job_uid=job.uid)
        for job, seconds in left.items()
        if seconds <= 0
    )
    return Plan(
        actions=actions,
        status=seen(record) if record.status.observed_generation != record.generation else None,
        is_urgent=True,
        look_again_seconds=min((seconds for seconds in left.values() if seconds > 0), default=None),
    )


def _when_told(record: Record, *, now: datetime) -> datetime:
    """When the status first told the end, by the operator's clock.

    The completion time is its node's, and may have passed long before anybody could see it.
    """
    told = parse_time(record.end.last_transition_time) if record.end else None
    return told or now


def _ttl_seconds(record: Record, settings: Settings) -> int | None:
    own = None if record.job is None else record.spec.ttl_seconds_after_finished
    if own is not None:
        return own
    default = settings.ttl_seconds_after_finished
    return default if default >= 0 else None


def _limit_seconds(job: RunJob, observation: Observation, *, ttl: int | None) -> int | None:
    """How long a Job is kept after the end; None: for good."""
    limits = [] if ttl is None else [ttl]
    if job.end is None:
        said = judge(job, observation) is not None
        limits.append(LINGER_SECONDS if said else ABANDONED_SECONDS)
    return min(limits, default=None)
