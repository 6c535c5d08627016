"""The conditions of a job: one table, read alike by kubectl, Helm, Flux and Argo CD.

`Complete`, `Failed` and `Suspended` are those of batch/v1; `Reconciling` and `Stalled` are
kstatus's, and never both true.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_api.v1alpha1.status import Condition
from batch_inference_operator.decide.bounds import as_text
from batch_inference_operator.decide.record import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from batch_inference_api.runner_contract import ProgressReport


class State(Enum):
    """Where a job stands; the value lists the conditions that are true."""

    IN_PROGRESS = ("Reconciling",)
    SUSPENDED = ("Suspended",)
    COMPLETE = ("Complete",)
    FAILED = ("Failed", "Stalled")


_TYPES = ("Complete", "Failed", "Suspended", "Reconciling", "Stalled")
_CHECKS = {
    "InputsResolved": (Reason.INPUT_NOT_FOUND, Reason.INPUT_CHANGED, Reason.INPUT_CORRUPT),
    "ModelVerified": (
        Reason.MODEL_NOT_FOUND,
        Reason.MODEL_DIGEST_MISMATCH,
        Reason.MODEL_UNSUPPORTED,
        Reason.MODEL_UNSAFE,
        Reason.MODEL_NOT_ROWWISE,
        Reason.ACCELERATOR_UNAVAILABLE,
    ),
    "SchemaValid": (Reason.SCHEMA_MISMATCH, Reason.AMBIGUOUS_COLUMN),
}
PLANNED = (RunPhase.RUNNING, RunPhase.FINALIZING, RunPhase.SUCCEEDED)
"""Phases of a run whose inputs and model have been checked."""
_MAX_MESSAGE_BYTES = 1000
"""A status stays small whatever a scheduler or a store has to say."""
_MAX_CONDITIONS = 16


def conditions_of(
    state: State,
    *,
    reason: str,
    message: str,
    report: ProgressReport | None,
    previous: Iterable[Condition],
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Make all conditions; a time of transition changes only with the condition's status."""
    before = {condition.type: condition for condition in previous}
    wanted = [
        (kind, "True", reason, message) if kind in state.value else (kind, "False", reason, "")
        for kind in _TYPES
    ]
    wanted.extend(_checks(report))
    known = {kind for kind, *_ in wanted}
    kept = [condition for condition in before.values() if condition.type not in known]
    made = [
        _condition(
            before.get(kind), kind, status, reason=why, message=text, generation=generation, now=now
        )
        for kind, status, why, text in wanted
    ]
    others = (
        condition.model_copy(update={"observed_generation": generation}) for condition in kept
    )
    return (*made, *others)[:_MAX_CONDITIONS]


def _checks(report: ProgressReport | None) -> Iterator[tuple[str, str, str, str]]:
    """What planning found out: known once rows are scored, or once it failed."""
    if report is None:
        return
    for kind, failures in _CHECKS.items():
        if report.phase in PLANNED:
            yield kind, "True", "Verified", ""
        elif report.reason in failures:
            yield kind, "False", str(report.reason), report.message or ""


def _condition(
    before: Condition | None,
    kind: str,
    status: str,
    *,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Condition:
    same = before is not None and before.status == status
    since = before.last_transition_time if before is not None and same else format_time(now)
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "observedGeneration": generation,
            "lastTransitionTime": since,
            "reason": reason,
            "message": as_text(message, _MAX_MESSAGE_BYTES),
        }
    )
