"""Where a job stands and why: the one reading of a job that all commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from batch_inference_operator.decide.announcements import ORDINARY
from batch_inference_operator.decide.record import parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_api.v1alpha1.status import Condition
    from batch_inference_operator.decide.record import Record


class State(StrEnum):
    """What a job is to whoever waits for it."""

    UNSEEN = "Unseen"
    """The operator has not looked at it yet."""
    ELSEWHERE = "Elsewhere"
    """Another controller runs it."""
    IN_PROGRESS = "InProgress"
    SUSPENDED = "Suspended"
    DELETING = "Deleting"
    COMPLETE = "Complete"
    FAILED = "Failed"


_OPEN = (State.IN_PROGRESS, State.SUSPENDED)
"""An edit of the spec still changes something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a job stands."""

    state: State
    word: str
    """The phase, or what is shown in its place."""
    reason: str = ""
    message: str = ""
    since: datetime | None = None
    """Since when it is in this state; a phase or trouble within it may be younger."""
    has_trouble: bool = False
    """It goes on, but not as it should."""
    is_behind: bool = False
    """The spec was changed, and the operator has not looked at it since."""


def find_standing(record: Record) -> Standing:
    """Read conditions rather than the phase: they are what programs wait for."""
    for kind, state in (("Complete", State.COMPLETE), ("Failed", State.FAILED)):
        if (found := _true(record, kind)) is not None:
            return _from(found, record, state)
    if record.being_deleted:
        message = "the job is being deleted, its pods go with it; what is committed stays"
        return Standing(state=State.DELETING, word="Deleting", message=message)
    for kind, state in (("Suspended", State.SUSPENDED), ("Reconciling", State.IN_PROGRESS)):
        if (found := _true(record, kind)) is not None:
            return _from(found, record, state)
    if record.managed_elsewhere:
        message = "spec.managedBy gives the job to another controller"
        return Standing(state=State.ELSEWHERE, word="Elsewhere", message=message)
    return Standing(
        state=State.UNSEEN, word="New", message="the operator has not looked at the job yet"
    )


def _true(record: Record, kind: str) -> Condition | None:
    found = record.condition(kind)
    return found if found is not None and found.status == "True" else None


def _from(condition: Condition, record: Record, state: State) -> Standing:
    phase = record.status.phase
    in_progress = state is State.IN_PROGRESS
    return Standing(
        state=state,
        word=phase.value if phase is not None else state.value,
        reason=condition.reason,
        message=condition.message,
        since=parse_time(condition.last_transition_time),
        has_trouble=in_progress and condition.reason not in ORDINARY,
        is_behind=state in _OPEN and (record.status.observed_generation or 0) < record.generation,
    )
