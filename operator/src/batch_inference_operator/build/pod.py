"""The pods of a run: one container that meets Pod Security "restricted", whatever the job says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_api.pod_contract import HTTP_PORT, LIVENESS_PORT
from batch_inference_operator.build.layout import (
    CONFIG_PATH,
    CONTAINER,
    GROUP_ID,
    LIVENESS_PATH,
)
from batch_inference_operator.build.ownership import labels_of_run, name_of_run
from batch_inference_operator.build.plain import as_plain
from batch_inference_operator.build.resources import fill_resources, memory_limit_bytes
from batch_inference_operator.build.volumes import build_volume_mounts, build_volumes
from batch_inference_operator.names import (
    COMPLETION_INDEX_LABEL,
    ISTIO_INJECT_LABEL,
    LINKERD_INJECT_ANNOTATION,
)

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.job import BatchInferenceJob, JobSpec
    from batch_inference_api.v1alpha1.placement import Toleration
    from batch_inference_api.v1alpha1.workers import WorkersSpec
    from batch_inference_operator.settings import Settings

_GRACE_SECONDS = 10
_LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_LOST_NODE_SECONDS = 30
"""Kubernetes' own default of five minutes is a long time for a run to do without its first pod."""


def build_pod_template(
    job: BatchInferenceJob, *, number: int, settings: Settings
) -> dict[str, Any]:
    """The template of all pods of a run; they tell each other apart by their completion index.

    They ask meshes for no sidecar: a pod that has an ordinary one does not end with its runner.
    """
    workers = job.spec.workers
    resources = fill_resources(workers.resources, settings)
    return {
        "metadata": {
            "labels": labels_of_run(job, number) | {ISTIO_INJECT_LABEL: "false"},
            "annotations": {LINKERD_INJECT_ANNOTATION: "disabled"},
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            "serviceAccountName": workers.service_account_name or "default",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _pod_security(),
            **_build_placement(workers, settings.runner_image_pull_secrets),
            "containers": [_build_container(job.spec, as_plain(resources), settings)],
            "volumes": build_volumes(
                job.spec,
                secret_name=name_of_run(job, number),
                memory_bytes=memory_limit_bytes(resources),
            ),
        },
    }


def _pod_security() -> dict[str, Any]:
    """The user is the image's own, which has a number, so that the kubelet sees it is not root."""
    return {
        "runAsNonRoot": True,
        "fsGroup": GROUP_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _build_container(
    spec: JobSpec, resources: dict[str, Any], settings: Settings
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": spec.workers.image or settings.runner_image,
        "imagePullPolicy": settings.runner_image_pull_policy,
        "args": ["pod", "--config", CONFIG_PATH],
        "env": _build_env(spec.workers),
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "resources": resources,
        "livenessProbe": _liveness_probe(),
        "securityContext": _container_security(),
        "terminationMessagePolicy": "File",
        "volumeMounts": build_volume_mounts(spec),
    }
    if spec.workers.env_from:
        container["envFrom"] = [as_plain(source) for source in spec.workers.env_from]
    return container


def _build_env(workers: WorkersSpec) -> list[dict[str, Any]]:
    """The job's variables, then the run's own, which no variable of the job replaces."""
    own = [
        _env_from_field("BIJ_POD_IP", "status.podIP"),
        # The Job controller sets this one only where it is not there yet.
        _env_from_field(
            "JOB_COMPLETION_INDEX", f"metadata.annotations['{COMPLETION_INDEX_LABEL}']"
        ),
    ]
    reserved = {variable["name"] for variable in own}
    theirs = [as_plain(variable) for variable in workers.env if variable.name not in reserved]
    return [*theirs, *own]


def _env_from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _liveness_probe() -> dict[str, Any]:
    """A supervisor that has stopped is killed between 65 and 90 seconds later, grace included."""
    return {
        "httpGet": {"path": LIVENESS_PATH, "port": LIVENESS_PORT},
        "initialDelaySeconds": 10,
        "periodSeconds": 15,
        "timeoutSeconds": 5,
        "failureThreshold": 5,
    }


def _build_placement(workers: WorkersSpec, pull_secrets: tuple[str, ...]) -> dict[str, Any]:
    """Where the pods run; fields that the job leaves out are left to the cluster.

    A Secret that is not there is passed over by the kubelet, so the platform's `pull_secrets` do no
    harm in a namespace without them.
    """
    own = (secret.name for secret in workers.image_pull_secrets)
    placement: dict[str, Any] = {
        "tolerations": _build_tolerations(workers.tolerations),
        "nodeSelector": dict(workers.node_selector),
        "affinity": None if workers.affinity is None else as_plain(workers.affinity),
        "priorityClassName": workers.priority_class_name,
        "runtimeClassName": workers.runtime_class_name,
        "schedulerName": workers.scheduler_name,
        "imagePullSecrets": [{"name": name} for name in dict.fromkeys((*own, *pull_secrets))],
    }
    return {field: value for field, value in placement.items() if value}


def _build_tolerations(asked: tuple[Toleration, ...]) -> list[dict[str, Any]]:
    """A short patience with lost nodes where the job names none, and what it tolerates.

    Of several tolerations of one taint the first counts. One without a key, by which pods may run
    on any GPU node, is not meant to keep pods on a node that is lost.
    """
    return [
        *(
            {
                "key": taint,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": _LOST_NODE_SECONDS,
            }
            for taint in _LOST_NODE_TAINTS
            if not any(_concerns(toleration, taint) for toleration in asked)
        ),
        *(as_plain(toleration) for toleration in asked),
    ]


def _concerns(toleration: Toleration, taint: str) -> bool:
    """Whether the job's own toleration says how long the taint is tolerated."""
    return toleration.key == taint and toleration.effect in (None, "NoExecute")
