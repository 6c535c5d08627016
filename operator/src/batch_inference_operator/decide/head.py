"""The first pod of a run, index 0, which leads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_inference_operator.observation import Observation, RunJob, RunPod


def find_head(run: RunJob, observation: Observation) -> RunPod | None:
    """The youngest pod of index 0; None: it is not there yet."""
    heads = observation.heads_of(run)
    return heads[-1] if heads else None


def head_uid(run: RunJob, observation: Observation) -> str | None:
    """UID of the pod whose report was asked for; None: it is not there yet."""
    head = find_head(run, observation)
    return None if head is None else head.uid


def is_head_up(run: RunJob, observation: Observation) -> bool:
    """Whether index 0 runs, as far as its node tells."""
    head = find_head(run, observation)
    return head is not None and head.is_running


def is_head_silent(run: RunJob, observation: Observation) -> bool:
    """Whether index 0 runs but did not say how far it is: nobody knows whether it scores."""
    return observation.report is None and is_head_up(run, observation)
