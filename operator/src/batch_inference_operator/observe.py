"""Reads what is there: cached children, a live look where the cache could mislead, the progress.

Raw Jobs, pods and events become typed values here; `decide.record` reads the job itself.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batch_inference_api.runner_contract import (
    ContractSkewError,
    ContractVersionError,
    ProgressReport,
)
from batch_inference_operator.build.layout import CONTAINER
from batch_inference_operator.cache import Kind
from batch_inference_operator.cluster.api import ClusterError
from batch_inference_operator.decide.head import find_head
from batch_inference_operator.decide.verdict import judge_heads, judge_kept
from batch_inference_operator.names import (
    APPLIED_PODS_ANNOTATION,
    APPLIED_WORKERS_ANNOTATION,
    COMPLETION_INDEX_LABEL,
    RUN_LABEL,
    job_selector,
)
from batch_inference_operator.observation import (
    ClusterWarning,
    JobEnd,
    Observation,
    RunJob,
    RunPod,
    Termination,
)
from batch_inference_operator.progress_poll import Poll, PollTarget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batch_inference_operator.cache import ObjectCache
    from batch_inference_operator.cluster.api import Cluster
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.progress_poll import ProgressPoller

    Raw = Mapping[str, Any]

_logger = logging.getLogger(__name__)

_PATIENCE = timedelta(seconds=5)
"""A pod that waits longer than this is asked for in the namespace's events."""
_MAX_PODS_ASKED = 5
_NOT_ITS_TURN = "PodInitializing"
"""What a container says for as long as one before it is at work."""
_MAX_DIGITS = 16
"""Of a number of runs or pods. Python refuses to read numbers of more than 4300."""


async def observe(
    record: Record,
    *,
    cluster: Cluster,
    cache: ObjectCache,
    poll_progress: ProgressPoller,
    now: datetime,
    is_live: bool = False,
) -> Observation:
    """Take a snapshot of a job's children; `is_live` has the API server asked in any case.

    Raises:
        ClusterError: the API server could not be read where the cache does not suffice.
    """
    if record.is_left_alone:
        return Observation()
    jobs = _read_jobs(cache.children(Kind.RUN_JOB, record.uid), record)
    pods = _read_pods(cache.children(Kind.POD, record.uid))
    if is_live or (not record.is_finished and _may_mislead(jobs, pods, record, now=now)):
        jobs, pods = await _read_live(record, cluster)
    observation = Observation(jobs=jobs, pods=pods)
    run = observation.current_run
    if record.is_finished or run is None:
        return observation
    answer = await _ask_head(observation, run, record, poll_progress=poll_progress)
    warnings, is_missed = await _read_warnings(record, run, observation.pods_of(run), cluster, now)
    return Observation(
        jobs=jobs,
        pods=pods,
        report=answer.report,
        unreachable_seconds=answer.unreachable_seconds,
        poll_failure=answer.failure,
        is_poll_skewed=answer.is_skewed,
        warnings=warnings,
        warnings_missed=is_missed,
    )


def _may_mislead(
    jobs: tuple[RunJob, ...], pods: tuple[RunPod, ...], record: Record, *, now: datetime
) -> bool:
    """Whether a decision for good would rest on what the cache does not have (yet).

    Without a run the next one is created; a Job that ended without a verdict in sight is deleted,
    and one whose first pod seems to be kept by a sidecar.
    """
    live = [job for job in jobs if not job.being_deleted]
    if not live:
        return True
    run = max(live, key=lambda job: job.number)
    seen = Observation(pods=pods)
    has_ended = run.end is not None or judge_kept(run, seen, now=now) is not None
    is_judged = judge_heads(run, seen) is not None
    return run.number < record.run_number or (has_ended and not is_judged)


async def _read_live(
    record: Record, cluster: Cluster
) -> tuple[tuple[RunJob, ...], tuple[RunPod, ...]]:
    """List Jobs before pods: a Job that is gone by then makes no pod that the list would miss."""
    selector = job_selector(record.uid)
    jobs = await cluster.list("Job", namespace=record.namespace, labels=selector)
    pods = await cluster.list("Pod", namespace=record.namespace, labels=selector)
    return _read_jobs(jobs, record), _read_pods(pods)


async def _ask_head(
    observation: Observation, run: RunJob, record: Record, *, poll_progress: ProgressPoller
) -> Poll:
    head = find_head(run, observation)
    if head is None or head.ip is None or head.running_since is None or head.is_over:
        return Poll()
    target = PollTarget(pod_uid=head.uid, ip=head.ip, job_uid=record.uid, run_number=run.number)
    return await poll_progress(target)


async def _read_warnings(
    record: Record,
    run: RunJob,
    pods: tuple[RunPod, ...],
    cluster: Cluster,
    now: datetime,
) -> tuple[tuple[ClusterWarning, ...], bool]:
    """Warnings about a Job that lacks pods, and about pods that wait on their node.

    These are told by events only; why a pod has no node, it says itself. Beside them: whether some
    could not be read.
    """
    if run.end is not None or run.suspended or now - run.created < _PATIENCE:
        return (), False
    waiting = [pod for pod in pods if pod.node and pod.is_waiting]
    uids = [pod.uid for pod in waiting if now - pod.created >= _PATIENCE][:_MAX_PODS_ASKED]
    if sum(not pod.is_over for pod in pods) < run.parallelism:
        uids.append(run.uid)
    found = await asyncio.gather(*(_list_warnings(uid, record, cluster) for uid in uids))
    warnings = [_read_warning(raw) for events in found for raw in events or ()]
    warnings.sort(key=lambda warning: warning.seen, reverse=True)
    return tuple(warnings), None in found


async def _list_warnings(uid: str, record: Record, cluster: Cluster) -> tuple[Raw, ...] | None:
    """The Warning events about an object, None if they cannot be read.

    They only explain, so a job goes on without them.
    """
    try:
        return await cluster.list(
            "Event", namespace=record.namespace, fields=f"involvedObject.uid={uid},type=Warning"
        )
    except ClusterError as error:
        _logger.warning("events not read", extra={"job": str(record.key), "error": str(error)})
        return None


def _read_jobs(objects: Iterable[Raw], record: Record) -> tuple[RunJob, ...]:
    """Read the Jobs of runs. One that only has their labels is somebody else's: let it alone."""
    return tuple(
        _read_job(raw)
        for raw in objects
        if _run_of(raw) is not None and _controller_of(raw) == record.uid
    )


def _read_pods(objects: Iterable[Raw]) -> tuple[RunPod, ...]:
    return tuple(_read_pod(raw) for raw in objects if _run_of(raw) is not None)


def _controller_of(raw: Raw) -> str | None:
    owners = raw["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


def _run_of(raw: Raw) -> int | None:
    return _number((raw["metadata"].get("labels") or {}).get(RUN_LABEL))


def _number(text: str | None) -> int | None:
    """The number of a label or annotation, which anybody may have written, at any length."""
    if not text or len(text) > _MAX_DIGITS:
        return None
    return int(text) if text.isascii() and text.isdecimal() else None


def _read_job(raw: Raw) -> RunJob:
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
        parallelism=spec.get("parallelism", 1),
        backoff_limit=spec.get("backoffLimit"),
        applied_workers=_number(annotations.get(APPLIED_WORKERS_ANNOTATION)),
        applied_pods=annotations.get(APPLIED_PODS_ANNOTATION),
        end=end,
        end_reason=true[end].get("reason", "") if end else "",
    )


def _read_pod(raw: Raw) -> RunPod:
    metadata, status = raw["metadata"], raw.get("status") or {}
    container = _container_state(status)
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
        owner_uid=_controller_of(raw),
        index=_number(index),
        created=_time(metadata["creationTimestamp"]),
        phase=status.get("phase", "Pending"),
        ip=status.get("podIP"),
        node=(raw.get("spec") or {}).get("nodeName"),
        deleted=_told_to_go(metadata),
        grace_seconds=metadata.get("deletionGracePeriodSeconds") or 0,
        running_since=_maybe_time(running.get("startedAt")),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        waiting_container=waiting_container,
        unscheduled_message=(
            scheduled.get("message", "") if scheduled.get("status") == "False" else ""
        ),
        disruption=disruption.get("reason", "") if disruption.get("status") == "True" else "",
        failure_reason=status.get("reason", ""),
        failure_message=status.get("message", ""),
        init_failure=_find_init_failure(status),
        termination=_read_termination(container.get("terminated")),
    )


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


def _read_termination(raw: Raw | None) -> Termination | None:
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


def _read_warning(raw: Raw) -> ClusterWarning:
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
