"""What keeps pods from scoring, in words that say what to do.

A chain of questions, each answered from the observation alone; the first that finds something is
what users read. Where none does and events could not be read, what they told before still stands.
None of the troubles ends a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.losses import find_loss, find_lost_node
from batch_inference_operator.decide.obstacles import TOLD_BY_EVENTS, find_obstacle
from batch_inference_operator.decide.scene import Scene, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import Observation, RunJob

UNRESPONSIVE_SECONDS = 30.0


def find_trouble(
    record: Record, run: RunJob, observation: Observation, *, now: datetime
) -> Trouble | None:
    """The most telling trouble of a run; None: all is well, or a queue holds it back.

    A look at which events could not be read keeps the trouble that they told of at the last one.
    """
    scene = Scene(
        record=record,
        run=run,
        pods=observation.pods_of(run),
        observation=observation,
        now=now,
    )
    for question in _QUESTIONS if not run.suspended else (_is_a_companion_refused,):
        trouble = question(scene)
        if trouble is not None:
            return trouble
    if observation.warnings_missed and not run.suspended:
        return _last_told_by_events(record)
    return None


def _last_told_by_events(record: Record) -> Trouble | None:
    """The trouble in the status, if it is one that events tell of.

    Others would have been found again, had they lasted.
    """
    known = record.condition("Reconciling")
    if known is None or known.status != "True" or known.reason not in TOLD_BY_EVENTS:
        return None
    return Trouble(reason=known.reason, message=known.message)


def _is_a_companion_refused(scene: Scene) -> Trouble | None:
    """Pods cannot start without them, so nothing else matters."""
    return None if scene.record.names(scene.run) else _refusal(scene)


def _is_a_change_refused(scene: Scene) -> Trouble | None:
    """A queue may hold a Job to the size with which it was admitted; the run goes on as it is."""
    return _refusal(scene) if scene.record.names(scene.run) else None


def _refusal(scene: Scene) -> Trouble | None:
    refusal = scene.observation.refusal
    return None if refusal is None else Trouble(reason=refusal.reason, message=refusal.message)


def _is_the_head_of_another_release(scene: Scene) -> Trouble | None:
    """Known from one answer: another would say the same."""
    if not scene.observation.is_poll_skewed:
        return None
    return Trouble(
        reason=Reason.VERSION_SKEW,
        message="this operator cannot read the first pod's report: "
        f"{scene.observation.poll_failure}; until then the run goes on, and its progress is not "
        "known",
    )


def _is_the_head_silent(scene: Scene) -> Trouble | None:
    if scene.observation.unreachable_seconds < UNRESPONSIVE_SECONDS:
        return None
    why = scene.observation.poll_failure
    return Trouble(
        reason=Reason.HEAD_UNRESPONSIVE,
        message="the first pod runs but does not tell its progress"
        + (f": {why}" if why else "")
        + "; it is restarted if it hangs, and goes on scoring if only the operator cannot reach it",
    )


_QUESTIONS: tuple[Callable[[Scene], Trouble | None], ...] = (
    _is_a_companion_refused,
    find_lost_node,
    find_obstacle,
    find_loss,
    _is_the_head_of_another_release,
    _is_the_head_silent,
    _is_a_change_refused,
)
