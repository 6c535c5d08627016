"""What keeps pods from scoring, in words that say what to do.

A chain of questions, each answered from the observation alone; the first that finds something is
what users read. Where none does and events could not be read, what they told before still stands.
None of the troubles ends a job: pods that cannot start wait until they can, or until a
deadline of the job is over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.verdict import KEPT, describe_end, is_kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.observation import (
        ClusterWarning,
        Observation,
        RunJob,
        RunPod,
    )

UNRESPONSIVE_SECONDS = 30.0
_IMAGE = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
)
_CONFIGURATION = "CreateContainerConfigError"
_START = (
    _CONFIGURATION,
    "CreateContainerError",
    "RunContainerError",
    "StartError",
    "ContainerCannotRun",
    "CrashLoopBackOff",
)
_MISSING = re.compile(r"\b(secret|configmap) (\"|\S+/|key|cache)", re.IGNORECASE)
"""As kubelets name what a container lacks: `secret "x"`, `Secret namespace/x`, `secret cache`."""
_REASONS = {"secret": Reason.SECRET_NOT_FOUND, "configmap": Reason.CONFIG_MAP_NOT_FOUND}
_TOLD_BY_EVENTS = frozenset(
    (
        *_REASONS.values(),
        Reason.QUOTA_EXCEEDED,
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        Reason.POD_FORBIDDEN,
        Reason.VOLUME_NOT_READY,
        Reason.CONTAINER_CANNOT_RUN,
    )
)
"""What warnings about a Job or a pod are read as."""
_NAME_IT = (
    "suspend the job, add it to spec.workers.resources, and resume it, or let a LimitRange of the "
    "namespace give a default"
)
"""A quota for limits refuses pods that name none, and CPU has no limit unless the job names it."""
_MORE_MEMORY = "suspend the job, raise spec.workers.resources.limits.memory, and resume it"
_LATE_SECONDS = 30.0
"""A pod that is to go has its grace period and this long to be gone."""
_DRIVEN_AWAY = "DeletionByTaintManager"
_DRIVEN_AWAY_LATE_SECONDS = 5.0
"""One that a taint drives away is most likely on a node that does not answer: this long."""
TRIED_AGAIN = timedelta(minutes=3)
"""A kubelet tries again to mount a volume every two minutes."""
_FRESH = timedelta(minutes=10)
"""A refusal is told again every minute, later every five; events stay for an hour."""


class Wait(StrEnum):
    """Ordinary waits, which are nobody's fault: no event tells of them."""

    SUSPENDING = "Suspending"
    FOR_PODS = "WaitingForPods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a job does not get on as it should."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
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
    return max(TRIED_AGAIN, min(lasted, _FRESH))


def find_trouble(
    record: Record, run: RunJob, observation: Observation, *, now: datetime
) -> Trouble | None:
    """The most telling trouble of a run; None: all is well, or a queue holds it back.

    A look at which events could not be read keeps the trouble that they told of at the last one.
    """
    scene = _Scene(
        record=record,
        run=run,
        pods=observation.pods_of(run),
        observation=observation,
        now=now,
    )
    for question in _QUESTIONS if not run.suspended else (_is_a_companion_refused,):
        trouble = question(scene)
        if trouble is not None:
            return trouble
    if observation.warnings_missed and not run.suspended:
        return _last_told_by_events(record)
    return None


def _last_told_by_events(record: Record) -> Trouble | None:
    """The trouble in the status, if it is one that events tell of.

    Others would have been found again, had they lasted.
    """
    known = record.condition("Reconciling")
    if known is None or known.status != "True" or known.reason not in _TOLD_BY_EVENTS:
        return None
    return Trouble(reason=known.reason, message=known.message)


def _is_a_companion_refused(scene: _Scene) -> Trouble | None:
    """Pods cannot start without them, so nothing else matters."""
    return None if scene.record.names(scene.run) else _refusal(scene)


def _is_a_change_refused(scene: _Scene) -> Trouble | None:
    """A queue may hold a Job to the size with which it was admitted; the run goes on as it is."""
    return _refusal(scene) if scene.record.names(scene.run) else None


def _refusal(scene: _Scene) -> Trouble | None:
    refusal = scene.observation.refusal
    return None if refusal is None else Trouble(reason=refusal.reason, message=refusal.message)


def _is_an_image_missing(scene: _Scene) -> Trouble | None:
    for pod in scene.waiting:
        if pod.waiting_reason in _IMAGE:
            advice = "correct spec.workers.image or imagePullSecrets, or ask the platform team"
            return Trouble(reason=Reason.IMAGE_PULL_FAILED, message=_quote(pod, advice=advice))
    return None


def _who_waits(pod: RunPod) -> str:
    init = f", init container {pod.waiting_container}" if pod.waiting_container else ""
    return f"pod {pod.name}{init}"


def _quote(pod: RunPod, *, advice: str) -> str:
    """The kubelet's words, and the advice if they are about the job's own container."""
    if pod.waiting_container:
        advice = "ask the platform team, whose webhook has added this container"
    return f"{_who_waits(pod)}: {pod.waiting_reason}: {pod.waiting_message}; {advice}"


def _is_configuration_missing(scene: _Scene) -> Trouble | None:
    for pod in scene.waiting:
        missing = _MISSING.search(pod.waiting_message)
        if pod.waiting_reason == _CONFIGURATION and missing is not None:
            return Trouble(
                reason=_REASONS[missing[1].lower()],
                message=f"{_who_waits(pod)}: {pod.waiting_message}; "
                "the pod starts when it is there",
            )
    return None


def _is_the_container_broken(scene: _Scene) -> Trouble | None:
    for pod in scene.waiting:
        if pod.waiting_reason in _START:
            advice = "use a runner image of the operator's release"
            return Trouble(reason=Reason.CONTAINER_CANNOT_RUN, message=_quote(pod, advice=advice))
    return None


def _is_a_sandbox_missing(scene: _Scene) -> Trouble | None:
    """A node cannot give a pod its network: told by events only."""
    for warning in scene.told_by_nodes:
        if warning.reason == "FailedCreatePodSandBox":
            advice = "the node tries again: ask the platform team if it goes on"
            message = f"{warning.message}; {advice}"
            return Trouble(reason=Reason.CONTAINER_CANNOT_RUN, message=message)
    return None


def _is_a_pod_refused(scene: _Scene) -> Trouble | None:
    """The Job controller's pods are refused: told by events of the Job only.

    A pod that was made since then was not refused, so whatever is lacking has another cause.
    """
    if scene.lacking <= 0:
        return None
    made = max((pod.created for pod in scene.pods), default=scene.run.created)
    since = max(made, scene.now - _FRESH)
    for warning in scene.observation.warnings:
        if warning.reason != "FailedCreate" or warning.seen < since:
            continue
        text = warning.message
        if "exceeded quota" in text:
            advice = "the pods start as soon as there is room"
            return Trouble(reason=Reason.QUOTA_EXCEEDED, message=f"{text}; {advice}")
        if "failed quota" in text and "must specify" in text:
            return Trouble(reason=Reason.QUOTA_EXCEEDED, message=f"{text}; {_NAME_IT}")
        if re.search(r"serviceaccount .* not found", text, re.IGNORECASE):
            return Trouble(reason=Reason.SERVICE_ACCOUNT_NOT_FOUND, message=text)
        return Trouble(reason=Reason.POD_FORBIDDEN, message=text)
    return None


def _is_a_volume_missing(scene: _Scene) -> Trouble | None:
    for pod in scene.waiting:
        if "persistentvolumeclaim" in pod.unscheduled_message.lower():
            return Trouble(
                reason=Reason.VOLUME_NOT_READY,
                message=f"pod {pod.name}: {pod.unscheduled_message}",
            )
    for warning in scene.told_by_nodes:
        if warning.reason not in ("FailedMount", "FailedAttachVolume"):
            continue
        missing = re.search(r"(secret|configmap) \"[^\"]+\" not found", warning.message)
        if missing is None:
            return Trouble(reason=Reason.VOLUME_NOT_READY, message=warning.message)
        is_own = is_about_secret(warning, scene.run.name)
        advice = "the operator creates it" if is_own else "create it"
        return Trouble(
            reason=_REASONS[missing[1]],
            message=f"{missing[0]}: {advice}, and the pods start by themselves",
        )
    return None


def is_about_secret(warning: ClusterWarning, name: str) -> bool:
    """Whether a volume could not be mounted because that Secret is not there."""
    return warning.reason == "FailedMount" and f'secret "{name}" not found' in warning.message


def _is_there_no_node(scene: _Scene) -> Trouble | None:
    unscheduled = [pod for pod in scene.waiting if pod.unscheduled_message]
    if not unscheduled:
        return None
    return Trouble(
        reason=Reason.UNSCHEDULABLE,
        message=f"no node for {len(unscheduled)} of {scene.run.parallelism} pods: "
        f"{unscheduled[0].unscheduled_message}",
    )


def _is_a_node_lost(scene: _Scene) -> Trouble | None:
    """Only lateness tells: a taint drives pods away from nodes that are well, too."""
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


def _is_a_pod_replaced(scene: _Scene) -> Trouble | None:
    """Index 0 first; a pod that was replaced and runs again is no trouble any more.

    Nor is one that succeeded: index 0 does so at the end, and its Job ends then.
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


def _explain_loss(pod: RunPod, scene: _Scene) -> Trouble:
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
            message=f"pod {pod.name} was killed for want of memory{limit}: "
            f"{_MORE_MEMORY}" + (f"; {KEPT}" if kept else ""),
        )
    if pod.failure_reason and pod.running_since is None and end is None:
        return Trouble(reason=Reason.POD_REJECTED, message=describe_end(pod))
    reason = Reason.HEAD_FAILED if head else Reason.WORKER_FAILED
    return Trouble(
        reason=reason, message=f"{describe_end(pod)}; {KEPT if kept else 'it is replaced'}"
    )


def _is_the_head_silent(scene: _Scene) -> Trouble | None:
    if scene.observation.unreachable_seconds < UNRESPONSIVE_SECONDS:
        return None
    why = scene.observation.poll_failure
    return Trouble(
        reason=Reason.HEAD_UNRESPONSIVE,
        message="the first pod runs but does not tell its progress"
        + (f": {why}" if why else "")
        + "; it is restarted if it hangs, and goes on scoring if only the operator cannot reach it",
    )


_QUESTIONS: tuple[Callable[[_Scene], Trouble | None], ...] = (
    _is_a_companion_refused,
    _is_a_node_lost,
    _is_an_image_missing,
    _is_configuration_missing,
    _is_the_container_broken,
    _is_a_pod_refused,
    _is_a_volume_missing,
    _is_a_sandbox_missing,
    _is_there_no_node,
    _is_a_pod_replaced,
    _is_the_head_silent,
    _is_a_change_refused,
)
