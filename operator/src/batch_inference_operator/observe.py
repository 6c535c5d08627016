"""Reads what is there: cached children, a live look where the cache could mislead, the progress."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_inference_operator.cache import Kind
from batch_inference_operator.cluster.api import ClusterError
from batch_inference_operator.decide.head import find_head
from batch_inference_operator.decide.verdict import judge_heads, judge_kept
from batch_inference_operator.names import job_selector
from batch_inference_operator.observation import Observation
from batch_inference_operator.progress_poll import Poll, PollTarget
from batch_inference_operator.raw_objects import parse_jobs, parse_pods, parse_warning

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_operator.cache import ObjectCache
    from batch_inference_operator.cluster.api import Cluster
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import ClusterWarning, RunJob, RunPod
    from batch_inference_operator.progress_poll import ProgressPoller
    from batch_inference_operator.raw_objects import Raw

_logger = logging.getLogger(__name__)

_PATIENCE = timedelta(seconds=5)
"""A pod that waits longer than this is asked for in the namespace's events."""
_MAX_PODS_ASKED = 5


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
    jobs = parse_jobs(cache.children(Kind.RUN_JOB, record.uid), owner_uid=record.uid)
    pods = parse_pods(cache.children(Kind.POD, record.uid))
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
    jobs = await cluster.list(Kind.RUN_JOB, namespace=record.namespace, labels=selector)
    pods = await cluster.list(Kind.POD, namespace=record.namespace, labels=selector)
    return parse_jobs(jobs, owner_uid=record.uid), parse_pods(pods)


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
    warnings = [parse_warning(raw) for events in found for raw in events or ()]
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
