"""What keeps pods from starting: nobody lets them be made, no node takes them, or they lack things.

Pods that cannot start wait until they can, or until a deadline of the job is over.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.scene import FRESH, Trouble, Wait
from batch_inference_operator.names import DENIAL, UNANSWERED_WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_operator.decide.scene import Scene
    from batch_inference_operator.observation import ClusterWarning, RunPod

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
_NAME_IT = (
    "suspend the job, add it to spec.workers.resources, and resume it, or let a LimitRange of the "
    "namespace give a default"
)
"""A quota for limits refuses pods that name none, and CPU has no limit unless the job names it."""
_NOTICED_WITHIN = timedelta(seconds=30)
"""A scheduler notices a new pod within moments, and a queue removes its gates as soon; where one
replica of a scheduler takes over from another, its Lease runs out first, by default in 15 s."""
TOLD_BY_EVENTS = frozenset(
    (
        *_REASONS.values(),
        Reason.QUOTA_EXCEEDED,
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        Reason.POD_FORBIDDEN,
        Reason.ADMISSION_UNAVAILABLE,
        Reason.VOLUME_NOT_READY,
        Reason.CONTAINER_CANNOT_RUN,
        Wait.FOR_SERVER,
    )
)
"""What warnings about a Job or a pod are read as."""


def find_obstacle(scene: Scene) -> Trouble | None:
    """Say what keeps pods of a run from starting; None: nothing does."""
    found = (question(scene) for question in _QUESTIONS)
    return next((trouble for trouble in found if trouble is not None), None)


def _is_scaled_to_zero(scene: Scene) -> Trouble | None:
    """Neither the operator nor a queue asks for no pods at all."""
    if scene.run.parallelism > 0:
        return None
    workers = scene.run.applied_workers or scene.record.spec.workers.replicas
    return Trouble(
        reason=Reason.SCALED_TO_ZERO,
        message=f"somebody has set spec.parallelism of Job {scene.run.name} to 0, so it gets no "
        f"pods: set it back to {workers}, or suspend and resume the job",
    )


def _is_an_image_missing(scene: Scene) -> Trouble | None:
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


def _is_configuration_missing(scene: Scene) -> Trouble | None:
    for pod in scene.waiting:
        missing = _MISSING.search(pod.waiting_message)
        if pod.waiting_reason == _CONFIGURATION and missing is not None:
            return Trouble(
                reason=_REASONS[missing[1].lower()],
                message=f"{_who_waits(pod)}: {pod.waiting_message}; "
                "the pod starts when it is there",
            )
    return None


def _is_the_container_broken(scene: Scene) -> Trouble | None:
    for pod in scene.waiting:
        if pod.waiting_reason in _START:
            advice = "use a runner image of the operator's release"
            return Trouble(reason=Reason.CONTAINER_CANNOT_RUN, message=_quote(pod, advice=advice))
    return None


def _is_a_sandbox_missing(scene: Scene) -> Trouble | None:
    """A node cannot give a pod its network: told by events only."""
    for warning in scene.told_by_nodes:
        if warning.reason == "FailedCreatePodSandBox":
            advice = "the node tries again: ask the platform team if it goes on"
            message = f"{warning.message}; {advice}"
            return Trouble(reason=Reason.CONTAINER_CANNOT_RUN, message=message)
    return None


def _is_a_pod_refused(scene: Scene) -> Trouble | None:
    """The Job controller's pods are refused: told by events of the Job only.

    A pod that was made since then was not refused, so whatever is lacking has another cause.
    """
    if scene.lacking <= 0:
        return None
    made = max((pod.created for pod in scene.pods), default=scene.run.created)
    since = max(made, scene.now - FRESH)
    told = [
        warning.message
        for warning in scene.observation.warnings
        if warning.reason == "FailedCreate" and warning.seen >= since
    ]
    refusals = [refusal for text in told if (refusal := _refusal_of(text)) is not None]
    if told and not refusals:
        message = f"{told[0]}; the Job controller tries again"
        return Trouble(reason=Wait.FOR_SERVER, message=message)
    return next(iter(refusals), None)


def _refusal_of(text: str) -> Trouble | None:
    """Who refuses a pod, and why; None: nobody does, the API server only could not create it."""
    if "exceeded quota" in text:
        advice = "the pods start as soon as there is room"
        return Trouble(reason=Reason.QUOTA_EXCEEDED, message=f"{text}; {advice}")
    if "failed quota" in text and "must specify" in text:
        return Trouble(reason=Reason.QUOTA_EXCEEDED, message=f"{text}; {_NAME_IT}")
    if re.search(r"serviceaccount .* not found", text, re.IGNORECASE):
        return Trouble(reason=Reason.SERVICE_ACCOUNT_NOT_FOUND, message=text)
    if UNANSWERED_WEBHOOK in text:
        return Trouble(reason=Reason.ADMISSION_UNAVAILABLE, message=text)
    if DENIAL.search(text) or '" is invalid: ' in text:
        return Trouble(reason=Reason.POD_FORBIDDEN, message=text)
    return None


def _is_a_volume_missing(scene: Scene) -> Trouble | None:
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


def _is_there_no_node(scene: Scene) -> Trouble | None:
    unscheduled = [pod for pod in scene.waiting if pod.unscheduled_message]
    if not unscheduled:
        return None
    return Trouble(
        reason=Reason.UNSCHEDULABLE,
        message=f"no node for {len(unscheduled)} of {scene.run.parallelism} pods: "
        f"{unscheduled[0].unscheduled_message}",
    )


def _is_a_pod_gated(scene: Scene) -> Trouble | None:
    gated = [pod for pod in _stuck(scene) if pod.scheduling_gates]
    if not gated:
        return None
    return Trouble(
        reason=Reason.UNSCHEDULABLE,
        message=f"{len(gated)} of {scene.run.parallelism} pods must not be scheduled yet: "
        f"scheduling gates {', '.join(gated[0].scheduling_gates)}; a pod starts when whoever "
        "added its gates removes them",
    )


def _is_no_scheduler_there(scene: Scene) -> Trouble | None:
    for pod in _stuck(scene):
        if pod.awaited_scheduler:
            return Trouble(
                reason=Reason.UNSCHEDULABLE,
                message=f"no scheduler has looked at pod {pod.name}: ask the platform team "
                f'whether the scheduler "{pod.awaited_scheduler}" runs, or suspend the job, '
                "correct spec.workers.schedulerName, and resume it",
            )
    return None


def _stuck(scene: Scene) -> list[RunPod]:
    """Pods that have waited for longer than schedulers and queues take to see to them."""
    return [pod for pod in scene.waiting if scene.now - pod.created > _NOTICED_WITHIN]


_QUESTIONS: tuple[Callable[[Scene], Trouble | None], ...] = (
    _is_scaled_to_zero,
    _is_an_image_missing,
    _is_configuration_missing,
    _is_the_container_broken,
    _is_a_pod_refused,
    _is_a_volume_missing,
    _is_a_sandbox_missing,
    _is_there_no_node,
    _is_a_pod_gated,
    _is_no_scheduler_there,
)
