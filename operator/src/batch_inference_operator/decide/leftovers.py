"""Pods of earlier runs that nothing tells to go, and what somebody has to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_inference_operator.observation import Observation, RunPod

_NAMED_PODS = 3


def advise_on_leftovers(alive: tuple[RunPod, ...], observation: Observation) -> str:
    """What to do about pods that do not end by themselves, to be put behind a message."""
    return "".join(f"; {advice}" for advice in _advice(alive, observation))


def names_of(pods: tuple[RunPod, ...]) -> str:
    """The names of pods, of many the first three."""
    names = ", ".join(pod.name for pod in pods[:_NAMED_PODS])
    more = len(pods) - _NAMED_PODS
    return f"{names} and {more} more" if more > 0 else names


def _advice(alive: tuple[RunPod, ...], observation: Observation) -> Iterator[str]:
    staying = tuple(pod for pod in alive if pod.deleted is None)
    orphans = tuple(pod for pod in staying if pod.owner_uid is None)
    if orphans:
        yield f"delete pods that have no Job any more and do not end: {names_of(orphans)}"
    known = {None, *(job.uid for job in observation.jobs)}
    # One that was deleted is seen to be gone a moment before its pods are told to go.
    for name in sorted({pod.owner_name for pod in staying if pod.owner_uid not in known}):
        yield (
            f"if Job {name} is still there, delete it: it has lost the labels or the owner by "
            "which the operator knows it"
        )
    owners = {pod.owner_uid for pod in staying}
    for job in observation.jobs:
        if job.being_deleted and job.finalizers and job.uid in owners:
            yield (
                f"the pods of Job {job.name} go on until whoever added its finalizers removes "
                f"them: {', '.join(job.finalizers)}"
            )
