"""Events that follow from a change of status: few, and each said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.v1alpha1.status import Phase
from batch_inference_operator.decide.plan import Announcement
from batch_inference_operator.decide.scene import Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_inference_api.v1alpha1.status import Condition, JobStatus

ORDINARY = frozenset((*Phase, *Wait))
"""Reasons of a job that goes on as it should."""


def announce(before: JobStatus, after: JobStatus) -> tuple[Announcement, ...]:
    """What people should read about the step from one status to the next."""
    return tuple(_changes(before, after))


def _changes(before: JobStatus, after: JobStatus) -> Iterator[Announcement]:
    known = before.run.number if before.run else None
    if after.run is not None and after.run.job_name and after.run.number != known:
        yield Announcement(
            reason="RunStarted",
            message=f"run {after.run.number} started as Job {after.run.job_name}",
        )
    for kind, is_warning in (("Complete", False), ("Failed", True), ("Suspended", False)):
        found, previous = _condition(after, kind), _condition(before, kind)
        if found is not None and found.status == "True" and not _is_true(previous):
            reason = found.reason if is_warning else kind
            yield Announcement(reason=reason, message=found.message, is_warning=is_warning)
    current, previous = _condition(after, "Reconciling"), _condition(before, "Reconciling")
    if (
        current is not None
        and current.status == "True"
        and current.reason not in ORDINARY
        and (previous is None or previous.reason != current.reason)
    ):
        yield Announcement(reason=current.reason, message=current.message, is_warning=True)


def _condition(status: JobStatus, kind: str) -> Condition | None:
    return next((found for found in status.conditions if found.type == kind), None)


def _is_true(condition: Condition | None) -> bool:
    return condition is not None and condition.status == "True"
