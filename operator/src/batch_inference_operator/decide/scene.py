"""Why a job does not get on, as a value, and what is looked at to find that out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import (
        ClusterWarning,
        Observation,
        RunJob,
        RunPod,
    )

TRIED_AGAIN = timedelta(minutes=3)
"""A kubelet tries again to mount a volume every two minutes."""
FRESH = timedelta(minutes=10)
"""A refusal is told again every minute, later every five; events stay for an hour."""


class Wait(StrEnum):
    """Ordinary waits, which are nobody's fault: the operator makes no event of them."""

    SUSPENDING = "Suspending"
    FOR_PODS = "WaitingForPods"
    FOR_SERVER = "WaitingForServer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a job does not get on as it should."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What every question is asked about."""

    record: Record
    run: RunJob
    pods: tuple[RunPod, ...]
    observation: Observation
    now: datetime

    @property
    def waiting(self) -> tuple[RunPod, ...]:
        return tuple(pod for pod in self.pods if pod.is_waiting)

    @property
    def told_by_nodes(self) -> tuple[ClusterWarning, ...]:
        """Warnings about pods that wait, as far as they may still be so."""
        began = min((pod.created for pod in self.waiting), default=None)
        if began is None:
            return ()
        return tuple(
            warning
            for warning in self.observation.warnings
            if self.now - warning.seen < _believed_for(warning.seen - began)
        )

    @property
    def lacking(self) -> int:
        """How many pods the Job controller has yet to make."""
        return self.run.parallelism - sum(not pod.is_over for pod in self.pods)

    @property
    def youngest(self) -> dict[int | None, RunPod]:
        """The youngest pod of each index, except indexes that went when the run was made smaller.

        What failed there stays in sight, and nothing will replace it.
        """
        pods = sorted(self.pods, key=lambda pod: pod.created)
        return {pod.index: pod for pod in pods if (pod.index or 0) < self.run.parallelism}


def _believed_for(lasted: timedelta) -> timedelta:
    """How long what a kubelet tells explains a wait, if it has told so for `lasted`.

    At first each try is told; beyond 25 events of a pod, one every five minutes.
    """
    return max(TRIED_AGAIN, min(lasted, FRESH))
