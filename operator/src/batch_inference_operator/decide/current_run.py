"""A run that goes on: what it still needs, and what the status says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_operator.build.job import fingerprint_of_pods
from batch_inference_operator.decide.deadlines import (
    find_missed_deadline,
    remaining_seconds,
    seconds_to_next_deadline,
)
from batch_inference_operator.decide.head import find_head, is_head_up
from batch_inference_operator.decide.next_run import is_fenced
from batch_inference_operator.decide.obstacles import is_about_secret
from batch_inference_operator.decide.plan import (
    Action,
    CreateCompanions,
    DeleteRun,
    Plan,
    ScaleRun,
)
from batch_inference_operator.decide.scene import TRIED_AGAIN
from batch_inference_operator.decide.status import failed, in_a_run
from batch_inference_operator.decide.troubles import find_trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation, RunJob
    from batch_inference_operator.settings import Settings

_STARTING_SECONDS = 1.0
"""How soon a run that has not begun to score is looked at again: its first rows show at once."""
_SHORTEST_PAUSE_SECONDS = 1.0
_LONGEST_SILENCE_SECONDS = 60.0
"""A head that has long been silent is asked this seldom."""
_LONGEST_WAIT_SECONDS = 60.0
"""A head that has long been kept from starting is looked at this seldom: each look may list events,
and a watch tells of everything else."""
_LONGEST_START_SECONDS = 60.0
"""A run that plans for longer than this is looked at no more often than others."""


def plan_run(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> Plan:
    """Keep a run going, or end it where a limit is over or its first pod is lost.

    A missed limit is written down first, and `retention` clears the run away then: done the other
    way round, whoever is interrupted in between would find no run, and begin the next.
    """
    trouble = find_trouble(record, run, observation, now=now)
    missed = find_missed_deadline(
        record,
        run,
        observation,
        waiting_for=trouble.message if trouble else "",
        now=now,
        settings=settings,
    )
    if missed is not None:
        status = failed(record, run, missed, now=now)
        return Plan(status=status, is_urgent=True, needs_live_look=True)
    return Plan(
        actions=tuple(_keep_up(record, run, observation, now=now, settings=settings)),
        status=in_a_run(record, run, observation, trouble=trouble, now=now),
        look_again_seconds=_look_again(record, run, observation, now=now, settings=settings),
    )


def _keep_up(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> Iterator[Action]:
    is_lost = _is_head_lost(run, observation, now=now, settings=settings)
    if is_lost or _has_other_pods(record, run):
        yield DeleteRun(job_name=run.name, job_uid=run.uid)
        return
    for job in observation.jobs:
        if job.number < run.number and not job.being_deleted:
            yield DeleteRun(job_name=job.name, job_uid=job.uid)
    if not record.names(run) or _lacks_secret(run, observation, now=now):
        # The status names a run only after these were created: a crash in between repeats them.
        yield CreateCompanions(
            number=run.number,
            job_name=run.name,
            job_uid=run.uid,
            deadline_seconds=remaining_seconds(record, run, now=now),
        )
    workers = record.spec.workers.replicas
    # The server fills in the default: where it is missing, an older CRD has cut the field off.
    is_told = "replicas" in record.spec.workers.model_fields_set
    if record.names(run) and is_told and run.applied_workers != workers:
        yield ScaleRun(job_name=run.name, job_uid=run.uid, workers=workers)


def _lacks_secret(run: RunJob, observation: Observation, *, now: datetime) -> bool:
    """Whether pods wait for the run's own Secret: it may have gone with a Job of the same name."""
    return any(
        is_about_secret(warning, run.name) and now - warning.seen < TRIED_AGAIN
        for warning in observation.warnings
    )


def _is_head_lost(
    run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> bool:
    """Whether index 0 is on a node that does not answer: the Job controller would wait for ever."""
    head = find_head(run, observation)
    return head is not None and not head.is_over and is_fenced(head, now=now, settings=settings)


def _has_other_pods(record: Record, run: RunJob) -> bool:
    """Whether the job was suspended, changed and resumed before anybody looked.

    If nobody has edited it since the last look, the difference is one of fields that an older CRD
    has dropped, and no reason to replace the pods.
    """
    is_edited = record.status.observed_generation != record.generation
    made_for = (None, fingerprint_of_pods(record.spec.workers))
    return is_edited and run.applied_pods not in made_for


def _look_again(
    record: Record, run: RunJob, observation: Observation, *, now: datetime, settings: Settings
) -> float | None:
    deadline = seconds_to_next_deadline(record, run, observation, now=now, settings=settings)
    if run.suspended and record.names(run):
        return None
    is_starting = _is_starting(run, observation, now=now)
    again = _STARTING_SECONDS if is_starting else float(settings.progress_seconds)
    waited = _waited_seconds(run, observation, now=now)
    again = max(again, min(waited / 20, _LONGEST_WAIT_SECONDS))
    if not _is_head_leaving(run, observation):
        # Each look at a head that does not answer keeps other jobs waiting for its timeout.
        again = max(again, min(observation.unreachable_seconds / 2, _LONGEST_SILENCE_SECONDS))
    return again if deadline is None else min(again, max(deadline, _SHORTEST_PAUSE_SECONDS))


def _waited_seconds(run: RunJob, observation: Observation, *, now: datetime) -> float:
    """For how long index 0, or the pod that is to replace it, has been kept from starting."""
    head = find_head(run, observation)
    if head is None:
        since = run.started or run.created
    elif head.is_waiting:
        since = head.created
    elif head.is_over:
        since = (head.termination and head.termination.finished) or now
    else:
        since = now
    return (now - since).total_seconds()


def _is_head_leaving(run: RunJob, observation: Observation) -> bool:
    """Whether index 0 was told to go: the next run waits for its end, or for its fence."""
    head = find_head(run, observation)
    return head is not None and head.deleted is not None


def _is_starting(run: RunJob, observation: Observation, *, now: datetime) -> bool:
    """Whether index 0 has begun lately and has not scored yet."""
    head = find_head(run, observation)
    if head is None or head.running_since is None or not is_head_up(run, observation):
        return False
    has_rows = observation.report is not None and observation.report.rows.processed > 0
    lately = (now - head.running_since).total_seconds() < _LONGEST_START_SECONDS
    return lately and not has_rows
