"""Raw Jobs, pods and events -> typed values. Pure; `decide.record` reads the job itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batch_inference_api.runner_contract import (
    ContractSkewError,
    ContractVersionError,
    ProgressReport,
)
from batch_inference_operator.build.layout import CONTAINER
from batch_inference_operator.names import (
    APPLIED_PODS_ANNOTATION,
    APPLIED_WORKERS_ANNOTATION,
    COMPLETION_INDEX_LABEL,
    RUN_LABEL,
)
from batch_inference_operator.observation import (
    ClusterWarning,
    JobEnd,
    RunJob,
    RunPod,
    Termination,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Raw = Mapping[str, Any]

_NOT_ITS_TURN = "PodInitializing"
"""What a container says for as long as one before it is at work."""
_GARBAGE_COLLECTORS = ("foregroundDeletion", "orphan")
"""Finalizers of the cluster's own, which it removes once it has seen to a Job's pods."""
_GATED = "SchedulingGated"
_MAX_DIGITS = 16
"""Of a number of runs or pods. Python refuses to read numbers of more than 4300."""


def parse_jobs(objects: Iterable[Raw], *, owner_uid: str) -> tuple[RunJob, ...]:
    """Read the Jobs of a job's runs; one that has their labels but another owner is none."""
    return tuple(
        _parse_job(raw)
        for raw in objects
        if _run_of(raw) is not None and _controller_of(raw).get("uid") == owner_uid
    )


def parse_pods(objects: Iterable[Raw]) -> tuple[RunPod, ...]:
    """Read the pods of runs; which Job controls a pod is one of its fields."""
    return tuple(_parse_pod(raw) for raw in objects if _run_of(raw) is not None)


def _controller_of(raw: Raw) -> Raw:
    """The reference to the object that controls this one; empty: nobody does."""
    owners = raw["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})


def _run_of(raw: Raw) -> int | None:
    return _number((raw["metadata"].get("labels") or {}).get(RUN_LABEL))


def _number(text: str | None) -> int | None:
    """The number of a label or annotation, which anybody may have written, at any length."""
    if not text or len(text) > _MAX_DIGITS:
        return None
    return int(text) if text.isascii() and text.isdecimal() else None


def _parse_job(raw: Raw) -> RunJob:
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    annotations = metadata.get("annotations") or {}
    true = {
        condition["type"]: condition
        for condition in status.get("conditions") or ()
        if condition["status"] == "True"
    }
    end = next((end for end in JobEnd if end in true), None)
    number = _run_of(raw)
    assert number is not None
    return RunJob(
        name=metadata["name"],
        uid=metadata["uid"],
        number=number,
        created=_time(metadata["creationTimestamp"]),
        started=_maybe_time(status.get("startTime")),
        # Once it is let go, the Job controller first makes pods, and writes when a moment later.
        suspended=bool(spec.get("suspend")) or "Suspended" in true,
        being_deleted="deletionTimestamp" in metadata,
        finalizers=tuple(
            name for name in metadata.get("finalizers") or () if name not in _GARBAGE_COLLECTORS
        ),
        parallelism=spec.get("parallelism", 1),
        backoff_limit=spec.get("backoffLimit"),
        applied_workers=_number(annotations.get(APPLIED_WORKERS_ANNOTATION)),
        applied_pods=annotations.get(APPLIED_PODS_ANNOTATION),
        end=end,
        end_reason=true[end].get("reason", "") if end else "",
    )


def _parse_pod(raw: Raw) -> RunPod:
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    owner, container = _controller_of(raw), _container_state(status)
    running = container.get("running") or {}
    waiting_container, waiting = _find_waiting(status, container)
    conditions = {found["type"]: found for found in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    disruption = conditions.get("DisruptionTarget") or {}
    index = (metadata.get("labels") or {}).get(COMPLETION_INDEX_LABEL)
    run = _run_of(raw)
    assert run is not None
    return RunPod(
        name=metadata["name"],
        uid=metadata["uid"],
        run=run,
        owner_uid=owner.get("uid"),
        owner_name=owner.get("name", ""),
        index=_number(index),
        created=_time(metadata["creationTimestamp"]),
        phase=status.get("phase", "Pending"),
        ip=status.get("podIP"),
        node=spec.get("nodeName"),
        deleted=_told_to_go(metadata),
        grace_seconds=metadata.get("deletionGracePeriodSeconds") or 0,
        running_since=_maybe_time(running.get("startedAt")),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        waiting_container=waiting_container,
        unscheduled_message=_unscheduled_message(scheduled),
        awaited_scheduler=_awaited_scheduler(spec, scheduled),
        scheduling_gates=tuple(gate["name"] for gate in spec.get("schedulingGates") or ()),
        disruption=disruption.get("reason", "") if disruption.get("status") == "True" else "",
        failure_reason=status.get("reason", ""),
        failure_message=status.get("message", ""),
        init_failure=_find_init_failure(status),
        termination=_parse_termination(container.get("terminated")),
    )


def _unscheduled_message(scheduled: Raw) -> str:
    """What the scheduler says; of a pod with gates, the API server says the same of all."""
    is_told = scheduled.get("status") == "False" and scheduled.get("reason") != _GATED
    return scheduled.get("message", "") if is_told else ""


def _awaited_scheduler(spec: Raw, scheduled: Raw) -> str:
    """The scheduler of a pod that says nothing yet of being scheduled."""
    is_seen = scheduled or spec.get("nodeName")
    return "" if is_seen else spec.get("schedulerName", "default-scheduler")


def _container_state(status: Raw) -> Raw:
    for container in status.get("containerStatuses") or ():
        if container["name"] == CONTAINER:
            state: Raw = container.get("state") or {}
            return state
    return {}


def _find_waiting(status: Raw, runner: Raw) -> tuple[str, Raw]:
    """The init container that keeps the runner waiting, or else the runner itself, and why."""
    own: Raw = runner.get("waiting") or {}
    if not own:
        return "", own
    for container in status.get("initContainerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", _NOT_ITS_TURN) != _NOT_ITS_TURN:
            return container["name"], waiting
    return "", own


def _find_init_failure(status: Raw) -> str:
    for container in status.get("initContainerStatuses") or ():
        end = (container.get("state") or {}).get("terminated") or {}
        if end.get("exitCode"):
            words = (f"exit code {end['exitCode']}", end.get("reason"), end.get("message"))
            said = ": ".join(word.strip() for word in words if word)
            return f"init container {container['name']} ended with {said}"
    return ""


def _parse_termination(raw: Raw | None) -> Termination | None:
    if not raw:
        return None
    message = raw.get("message", "")
    report, is_skewed = None, False
    if message.lstrip().startswith("{"):
        try:
            report = ProgressReport.parse_cut(message)
        except ContractVersionError as error:
            message, is_skewed = str(error), isinstance(error, ContractSkewError)
    return Termination(
        exit_code=raw["exitCode"],
        reason=raw.get("reason", ""),
        finished=_maybe_time(raw.get("finishedAt")),
        report=report,
        message="" if report is not None else message,
        is_skewed=is_skewed,
    )


def _told_to_go(metadata: Raw) -> datetime | None:
    """When the pod was told to go: its deletion timestamp says when its grace period is over."""
    deadline = _maybe_time(metadata.get("deletionTimestamp"))
    if deadline is None:
        return None
    return deadline - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)


def parse_warning(raw: Raw) -> ClusterWarning:
    """Read an event, of either of the two APIs that write them."""
    metadata = raw["metadata"]
    seen = (
        (raw.get("series") or {}).get("lastObservedTime")
        or raw.get("lastTimestamp")
        or raw.get("eventTime")
        or metadata["creationTimestamp"]
    )
    return ClusterWarning(
        reason=raw.get("reason", ""), message=raw.get("message", ""), seen=_time(seen)
    )


def _maybe_time(text: str | None) -> datetime | None:
    return None if not text else _time(text)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
