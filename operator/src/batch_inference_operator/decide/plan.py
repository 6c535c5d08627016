"""What should happen next, as values: a plan is carried out elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.status import JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRun:
    """Create the Job of a run."""

    number: int
    deadline_seconds: int | None
    """What is left of `spec.activeDeadlineSeconds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCompanions:
    """Create what a run's pods need beside the Job: Service, Secret, NetworkPolicy."""

    number: int
    job_name: str
    job_uid: str
    deadline_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRun:
    """Delete a run's Job, and with it everything that the Job owns."""

    job_name: str
    job_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRun:
    """Set the number of a run's pods."""

    job_name: str
    job_uid: str
    workers: int


Action = CreateRun | CreateCompanions | DeleteRun | ScaleRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An event on the BatchInferenceJob, for people who read `kubectl describe`."""

    reason: str
    message: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Actions in order, then the status, then announcements. An empty plan: nothing to do."""

    actions: tuple[Action, ...] = ()
    status: JobStatus | None = None
    """The whole status as it should be; None: it stays as it is."""
    is_urgent: bool = False
    """The status is written at once, not with the next progress."""
    announcements: tuple[Announcement, ...] = ()
    needs_live_look: bool = False
    """It rests on something that did not happen, or that a stale cache does not show yet: before it
    is carried out, the API server is asked."""
    look_again_seconds: float | None = None
    """When to look again though nothing changed."""
