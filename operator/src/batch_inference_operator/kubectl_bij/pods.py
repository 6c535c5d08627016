"""Which pods are meant: of which run, and the youngest of each index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_inference_operator.build.layout import CONTAINER
from batch_inference_operator.kubectl_bij.errors import CommandFailed
from batch_inference_operator.kubectl_bij.wording import note
from batch_inference_operator.names import COMPLETION_INDEX_LABEL, RUN_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPod:
    """A pod of a run, as far as its log is concerned."""

    name: str
    run: int
    index: int
    created: str
    has_begun: bool
    is_over: bool
    waits_for: str = ""
    """Why its container does not run yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which pods were asked for; an index of None means all."""

    index: int | None = 0
    previous_run: bool = False


def read_pods(objects: Iterable[Mapping[str, Any]]) -> tuple[LogPod, ...]:
    """Read the pods that belong to runs."""
    return tuple(_read_pods(objects))


def _read_pods(objects: Iterable[Mapping[str, Any]]) -> Iterator[LogPod]:
    for raw in objects:
        metadata, status = raw["metadata"], raw.get("status") or {}
        labels = metadata.get("labels") or {}
        run, index = labels.get(RUN_LABEL, ""), labels.get(COMPLETION_INDEX_LABEL, "")
        if not run.isdecimal() or not index.isdecimal():
            continue
        state = _runner_state(status)
        yield LogPod(
            name=metadata["name"],
            run=int(run),
            index=int(index),
            created=metadata["creationTimestamp"],
            has_begun="running" in state or "terminated" in state,
            is_over=status.get("phase") in ("Succeeded", "Failed"),
            waits_for=_waits_for(state, status),
        )


def _runner_state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of the container whose log is read; a mesh or an agent may have added others."""
    for container in status.get("containerStatuses") or ():
        if container["name"] == CONTAINER:
            return container.get("state") or {}
    return {}


def _waits_for(state: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    if (waiting := state.get("waiting")) is not None:
        words = (waiting.get("reason"), waiting.get("message"))
        return note(": ".join(filter(None, words)))
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return note(f"no node yet: {condition.get('message', '')}")
    return ""


def choose_pods(pods: tuple[LogPod, ...], wanted: Wanted, *, current_run: int) -> list[LogPod]:
    """The pods that were asked for, by index.

    Raises:
        CommandFailed: there are none; the message says what there is.
    """
    newest = max([current_run, *(pod.run for pod in pods)])
    run = _previous(pods, newest) if wanted.previous_run else newest
    youngest: dict[int, LogPod] = {}
    for pod in sorted(pods, key=lambda pod: (pod.created, pod.name)):
        if pod.run == run and wanted.index in (None, pod.index):
            youngest[pod.index] = pod
    if not youngest:
        raise _explain_absence(pods, wanted, run=run)
    return [youngest[index] for index in sorted(youngest)]


def _previous(pods: tuple[LogPod, ...], newest: int) -> int:
    earlier = [pod.run for pod in pods if pod.run < newest]
    if earlier:
        return max(earlier)
    if newest <= 1:
        raise CommandFailed("there is no earlier run: this is the first one")
    raise CommandFailed(
        f"the pods of run {newest - 1} are gone, and their logs with them; collect logs off the "
        "pods if they must outlive a run"
    )


def _explain_absence(pods: tuple[LogPod, ...], wanted: Wanted, *, run: int) -> CommandFailed:
    there = sorted({pod.index for pod in pods if pod.run == run})
    if there:
        indexes = ", ".join(map(str, there))
        return CommandFailed(f"run {run} has no pod {wanted.index}; it has {indexes}")
    if run == 0:
        return CommandFailed("the job has no pods yet; `kubectl bij status` says what it waits for")
    return CommandFailed(
        f"run {run} has no pods: they are not there yet, or gone with their logs; `kubectl bij "
        "status` says where the job stands"
    )
