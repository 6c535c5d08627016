"""When the next run may begin, and when a job is given up instead.

A run begins once no pod of an earlier one can be alive, or once such a pod has been fenced: nobody
can confirm its death (its node is lost), and the commit protocol keeps a zombie from doing harm.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.v1alpha1.status import RunStatus
from batch_inference_operator.build.allowed import find_forbidden
from batch_inference_operator.decide.deadlines import pre_running_seconds, remaining_seconds
from batch_inference_operator.decide.leftovers import advise_on_leftovers, names_of
from batch_inference_operator.decide.plan import CreateRun, DeleteRun, Plan
from batch_inference_operator.decide.scene import Trouble, Wait
from batch_inference_operator.decide.status import between_runs, failed, in_a_run
from batch_inference_operator.decide.verdict import Failed

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.decide.verdict import Unsettled
    from batch_inference_operator.observation import Observation, Refusal, RunJob, RunPod
    from batch_inference_operator.settings import Settings

MAX_UNREPORTED_RUNS = 3
_REFUSED_AGAIN_SECONDS = 15.0
"""How soon a job whose Job was refused is looked at; `refused_plans` says when it is asked for."""
_COUNTED_SECONDS = 1.0
"""How soon a run that was counted is cleared away: its status only has to be seen again."""


def plan_next_run(
    record: Record, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Begin the next run, or say what it waits for."""
    forbidden = find_forbidden(record.readable_job, settings)
    if forbidden:
        message = "; ".join(refusal.message for refusal in forbidden)
        return _fail(record, reason=forbidden[0].reason, message=message, now=now)
    if observation.refusal is not None:
        return _plan_refused(record, observation.refusal, now=now, settings=settings)
    deadline = remaining_seconds(record, None, now=now)
    if deadline is not None and deadline <= 0:
        limit = record.spec.active_deadline_seconds
        message = f"the job took longer than spec.activeDeadlineSeconds ({limit} s)"
        return _fail(record, reason=Reason.DEADLINE_EXCEEDED, message=message, now=now)
    alive = find_live_pods(observation, now=now, settings=settings)
    if alive or delete_runs(observation):
        return _plan_wait(record, observation, alive, now=now, settings=settings)
    number = 1 + latest_run_number(record, observation)
    return Plan(actions=(CreateRun(number=number, deadline_seconds=deadline),))


def _plan_wait(
    record: Record,
    observation: Observation,
    alive: tuple[RunPod, ...],
    *,
    now: datetime,
    settings: Settings,
) -> Plan:
    """Wait for what is left of earlier runs, until the deadline of pods that nobody starts."""
    awaited = names_of(alive) if alive else "its Job is being deleted"
    message = f"the next run waits for the previous one to end: {awaited}"
    message += advise_on_leftovers(alive, observation)
    left = _seconds_to_begin(record, alive, now=now, settings=settings)
    if left is not None and left <= 0:
        limit = pre_running_seconds(record, settings)
        message = f"the pods did not begin to score within {limit} s: {message}"
        return _fail(record, reason=Reason.PRE_RUNNING_DEADLINE_EXCEEDED, message=message, now=now)
    trouble = Trouble(reason=Wait.FOR_PODS, message=message)
    plan = clear_away(record, observation, trouble, now=now, settings=settings)
    if left is None or plan.look_again_seconds is None:
        return plan
    return replace(plan, look_again_seconds=min(left, plan.look_again_seconds))


def _seconds_to_begin(
    record: Record, alive: tuple[RunPod, ...], *, now: datetime, settings: Settings
) -> float | None:
    """What pods that were never started have left to begin to score; None: no limit applies.

    Pods that run may be scoring, and pods that were told to go are gone soon. So are those of a run
    that was seen and deleted, but the cluster tells them a moment after their Job has gone.
    """
    limit = pre_running_seconds(record, settings)
    if not limit or not alive or record.run_number > 0:
        return None
    if not all(pod.is_waiting and pod.deleted is None for pod in alive):
        return None
    return limit - (now - min(pod.created for pod in alive)).total_seconds()


def _plan_refused(record: Record, refusal: Refusal, *, now: datetime, settings: Settings) -> Plan:
    """Try again, as a quota or a policy may change; until the job's first pods are overdue.

    Only time in which the server refused them counts: a queue may have held the job for hours.
    """
    limit = pre_running_seconds(record, settings)
    refused_seconds = (now - (refusal.since or now)).total_seconds()
    has_begun = record.status.start_time is not None
    if limit and not has_begun and refused_seconds >= limit:
        message = f"no pod could be created within {limit} s: {refusal.message}"
        return _fail(record, reason=Reason.PRE_RUNNING_DEADLINE_EXCEEDED, message=message, now=now)
    trouble = Trouble(reason=refusal.reason, message=refusal.message)
    status = between_runs(record, trouble, latest_run=record.run_number, now=now)
    return Plan(status=status, is_urgent=True, look_again_seconds=_REFUSED_AGAIN_SECONDS)


def clear_away(
    record: Record,
    observation: Observation,
    trouble: Trouble,
    *,
    now: datetime,
    settings: Settings,
) -> Plan:
    """Delete what is left of earlier runs, and look again when its pods are fenced at the latest.

    A run is named by the status before it is deleted, so that its number is never used again.
    """
    latest = latest_run_number(record, observation)
    status = between_runs(record, trouble, latest_run=latest, now=now)
    if latest > record.run_number:
        return Plan(status=status, is_urgent=True, look_again_seconds=_COUNTED_SECONDS)
    return Plan(
        actions=delete_runs(observation),
        status=status,
        look_again_seconds=_seconds_until_fenced(observation, now=now, settings=settings),
    )


def plan_after_unsettled(
    record: Record, run: RunJob, observation: Observation, verdict: Unsettled, *, now: datetime
) -> Plan:
    """Count the run, then clear it away so that the next can begin; give up after several of them.

    It is counted before it is deleted: nothing is left to be counted afterwards.
    """
    known = record.status.run or RunStatus()
    if known.number == run.number and known.job_name is None:
        return Plan(actions=(DeleteRun(job_name=run.name, job_uid=run.uid),))
    unreported = known.unreported or 0
    if unreported >= MAX_UNREPORTED_RUNS:
        given_up = Failed(reason=verdict.reason, message=verdict.message)
        return Plan(status=failed(record, run, given_up, now=now), is_urgent=True)
    trouble = Trouble(reason=verdict.reason, message=f"{verdict.message}; the next run begins")
    status = in_a_run(record, run, observation, trouble=trouble, now=now)
    # Without the name of its Job, a run is over and counted.
    counted = (status.run or RunStatus()).model_copy(
        update={"number": run.number, "job_name": None, "unreported": unreported + 1}
    )
    return Plan(
        status=status.model_copy(update={"run": counted}),
        is_urgent=True,
        look_again_seconds=_COUNTED_SECONDS,
    )


def delete_runs(observation: Observation) -> tuple[DeleteRun, ...]:
    """Deletions of every Job that is not on its way out."""
    return tuple(
        DeleteRun(job_name=job.name, job_uid=job.uid)
        for job in observation.jobs
        if not job.being_deleted
    )


def latest_run_number(record: Record, observation: Observation) -> int:
    """The latest run that the status or the cluster knows of; 0: there was none."""
    return max((record.run_number, *(job.number for job in observation.jobs)))


def find_live_pods(
    observation: Observation, *, now: datetime, settings: Settings
) -> tuple[RunPod, ...]:
    """Pods whose processes may be running, fenced ones left out."""
    return tuple(
        pod
        for pod in observation.pods
        if not pod.is_over and not is_fenced(pod, now=now, settings=settings)
    )


def is_fenced(pod: RunPod, *, now: datetime, settings: Settings) -> bool:
    """Whether the pod was told to go so long ago that only a lost node explains its being there."""
    return pod.deleted is not None and _fenced_at(pod, settings=settings) <= now


def _fenced_at(pod: RunPod, *, settings: Settings) -> datetime:
    assert pod.deleted is not None
    return pod.deleted + timedelta(seconds=pod.grace_seconds + settings.fence_seconds)


def _seconds_until_fenced(observation: Observation, *, now: datetime, settings: Settings) -> float:
    """When the first pod that has to go is certainly fenced off; at least a second."""
    dues = [
        _fenced_at(pod, settings=settings)
        for pod in find_live_pods(observation, now=now, settings=settings)
        if pod.deleted is not None
    ]
    seconds = (min(dues) - now).total_seconds() if dues else settings.fence_seconds
    return max(1.0, seconds)


def _fail(record: Record, *, reason: str, message: str, now: datetime) -> Plan:
    verdict = Failed(reason=reason, message=message)
    return Plan(status=failed(record, None, verdict, now=now), is_urgent=True)
