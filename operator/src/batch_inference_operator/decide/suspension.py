"""Suspending a job: its pods are taken away, what is committed stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_operator.decide.plan import DeleteRun, Plan
from batch_inference_operator.decide.status import in_progress, suspended
from batch_inference_operator.decide.succession import find_live_pods
from batch_inference_operator.decide.troubles import Trouble

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation
    from batch_inference_operator.settings import Settings


def plan_suspension(
    record: Record, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Delete every run; the job is suspended when the last pod is gone."""
    actions = tuple(
        DeleteRun(job_name=job.name, job_uid=job.uid)
        for job in observation.jobs
        if not job.being_deleted
    )
    alive = find_live_pods(observation, now=now, settings=settings)
    if not actions and not alive:
        return Plan(status=suspended(record, now=now), is_urgent=True)
    trouble = Trouble(
        reason="Suspending",
        message="waiting for the pods to end; what is committed stays",
        is_warning=False,
    )
    status = in_progress(record, None, observation, trouble=trouble, now=now)
    return Plan(
        actions=actions,
        status=status,
        is_urgent=True,
        look_again_seconds=settings.fence_seconds if alive else None,
    )
