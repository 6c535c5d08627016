"""Suspending a job: its pods are taken away, what is committed stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batch_inference_operator.decide.leftovers import advise_on_leftovers
from batch_inference_operator.decide.next_run import clear_away, delete_runs, find_live_pods
from batch_inference_operator.decide.plan import Plan
from batch_inference_operator.decide.scene import Trouble, Wait
from batch_inference_operator.decide.status import suspended, without_start

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation
    from batch_inference_operator.settings import Settings


def plan_suspension(
    record: Record, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Delete every run; the job is suspended when the last pod is gone."""
    deletions = delete_runs(observation)
    alive = find_live_pods(observation, now=now, settings=settings)
    if not deletions and not alive:
        return Plan(status=suspended(record, now=now), is_urgent=True)
    message = "waiting for the pods to end; what is committed stays"
    message += advise_on_leftovers(alive, observation)
    trouble = Trouble(reason=Wait.SUSPENDING, message=message)
    plan = clear_away(record, observation, trouble, now=now, settings=settings)
    return replace(plan, status=plan.status and without_start(plan.status))
