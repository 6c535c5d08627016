"""Pods that ran and do not any more: their node is lost, or they ended and are replaced."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.scene import Trouble
from batch_inference_operator.decide.verdict import KEPT, describe_end, is_kept

if TYPE_CHECKING:
    from batch_inference_operator.decide.scene import Scene
    from batch_inference_operator.observation import RunPod

_MORE_MEMORY = "suspend the job, raise spec.workers.resources.limits.memory, and resume it"
_LATE_SECONDS = 30.0
"""A pod that is to go has its grace period and this long to be gone."""
_DRIVEN_AWAY = "DeletionByTaintManager"
_DRIVEN_AWAY_LATE_SECONDS = 5.0
"""One that a taint drives away is most likely on a node that does not answer: this long."""


def find_lost_node(scene: Scene) -> Trouble | None:
    """Say which node does not answer; None: all do, as far as pods tell.

    Only lateness tells: a taint drives pods away from nodes that are well, too.
    """
    for pod in scene.pods:
        if pod.deleted is None or pod.is_over:
            continue
        is_driven_away = pod.disruption == _DRIVEN_AWAY
        patience = _DRIVEN_AWAY_LATE_SECONDS if is_driven_away else _LATE_SECONDS
        if scene.now - pod.deleted > timedelta(seconds=pod.grace_seconds + patience):
            return Trouble(
                reason=Reason.NODE_LOST,
                message=f"node {pod.node or 'unknown'} of pod {pod.name} does not answer; "
                + (
                    "the next run begins when the pod is gone or fenced off"
                    if pod.index == 0
                    else "its shards are scored by others"
                ),
            )
    return None


def find_loss(scene: Scene) -> Trouble | None:
    """Say which pod has ended and how; None: none has, or all that had are back.

    Index 0 first; a pod that was replaced and runs again is no trouble any more. Nor is one
    that succeeded: index 0 does so at the end, and its Job ends then.
    """
    for index in sorted(scene.youngest, key=lambda index: -1 if index is None else index):
        pod = scene.youngest[index]
        if _has_failed(pod) or (pod.deleted is not None and pod.disruption):
            return _explain_loss(pod, scene)
    return None


def _has_failed(pod: RunPod) -> bool:
    """Whether the pod failed, or its runner did and other containers keep the pod."""
    if pod.kept_since is None or pod.termination is None:
        return pod.phase == "Failed"
    return pod.termination.exit_code != 0


def _explain_loss(pod: RunPod, scene: Scene) -> Trouble:
    head = pod.index == 0
    end = pod.termination
    kept = is_kept(pod, now=scene.now)
    if pod.disruption:
        reason = Reason.HEAD_DISRUPTED if head else Reason.WORKER_DISRUPTED
        return Trouble(
            reason=reason,
            message=f"pod {pod.name} is replaced ({pod.disruption}); what is committed stays",
        )
    if end is not None and end.reason == "OOMKilled":
        memory = scene.record.spec.workers.resources.limits.get("memory")
        limit = f" (its limit is {memory})" if memory else ""
        return Trouble(
            reason=Reason.HEAD_OOM_KILLED if head else Reason.WORKER_OOM_KILLED,
            message=f"pod {pod.name} was killed because it ran out of memory{limit}: "
            f"{_MORE_MEMORY}" + (f"; {KEPT}" if kept else ""),
        )
    if pod.failure_reason and pod.running_since is None and end is None:
        return Trouble(reason=Reason.POD_REJECTED, message=describe_end(pod))
    reason = Reason.HEAD_FAILED if head else Reason.WORKER_FAILED
    return Trouble(
        reason=reason, message=f"{describe_end(pod)}; {KEPT if kept else 'it is replaced'}"
    )
