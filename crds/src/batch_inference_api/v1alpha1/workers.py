"""spec.workers: how many pods score, what each may use, and where they run."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from batch_inference_api.v1alpha1.environment import EnvFromSource, EnvVar, Volume, VolumeMount
from batch_inference_api.v1alpha1.names import Labels, ObjectName, is_label_key, problems_of_keys
from batch_inference_api.v1alpha1.placement import Affinity, Toleration
from batch_inference_api.v1alpha1.quantity import (
    LEAST_MEMORY,
    Quantity,
    parse_quantity,
    too_few_bytes,
    whole,
)
from batch_inference_api.v1alpha1.resource import ResourceModel

ResourceList = Annotated[
    dict[Annotated[str, Field(max_length=253)], Quantity], Field(max_length=16)
]
_OWN_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_HUGE_PAGES = "hugepages-"
_GPU = r".+/(gpu|gpu\.shared|mig-.+)"
_ATOMIC = {"x-kubernetes-list-type": "atomic"}


class ResourceRequirements(ResourceModel):
    """Compute resources of one pod."""

    requests: ResourceList = Field(default_factory=dict)
    """What the scheduler sets aside for the pod: `cpu`, `memory`, extended resources."""
    limits: ResourceList = Field(default_factory=dict)
    """What the pod may use at most. The scorers stay below the memory limit."""

    @property
    def gpus(self) -> int:
        """How many GPUs a pod gets, whole ones or parts that a device plugin makes of them."""
        given = {**self.requests, **self.limits}
        return sum(whole(given[name]) for name in given if re.fullmatch(_GPU, name))

    def find_problems(self) -> Iterator[tuple[str, str]]:
        for field, quantities in (("requests", self.requests), ("limits", self.limits)):
            for name, quantity in quantities.items():
                yield from ((field, problem) for problem in _problems_of(name, quantity))
        for name, requested in self.requests.items():
            limit = self.limits.get(name)
            if limit is not None and parse_quantity(requested) > parse_quantity(limit):
                yield "requests", f"{name} requests more ({requested}) than its limit ({limit})"


def _problems_of(resource: str, quantity: str | int) -> Iterator[str]:
    """What the API server would say of it when the pods are created, which is late."""
    amount = parse_quantity(quantity)
    if resource == "memory" and (problem := too_few_bytes(quantity, LEAST_MEMORY)):
        yield f"memory {problem}"
    if resource == "ephemeral-storage" and amount and (problem := too_few_bytes(quantity)):
        yield f"ephemeral-storage {problem}"
    if resource in _OWN_RESOURCES:
        return
    page = _page_size(resource)
    is_extended = "/" in resource and is_label_key(resource)
    if not is_extended and not page:
        yield (
            f"{resource!r} is not a resource: use {', '.join(_OWN_RESOURCES)}, or the name of an "
            "extended resource such as nvidia.com/gpu"
        )
    elif page and amount % page:
        size = resource.removeprefix(_HUGE_PAGES)
        yield f"{resource} must be a multiple of {size}, not {quantity}"
    elif amount % 1:
        yield f"{resource} must be a whole number, not {quantity}"


def _page_size(resource: str) -> Decimal | None:
    """The size in the name of huge pages; None for another resource, or without a size."""
    if not resource.startswith(_HUGE_PAGES):
        return None
    try:
        return parse_quantity(resource.removeprefix(_HUGE_PAGES))
    except ValueError:
        return None


class LocalReference(ResourceModel):
    """An object of the job's namespace."""

    name: ObjectName
    """Its name."""


CHANGE_WHILE_SUSPENDED = (
    "resources",
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "serviceAccountName",
    "image",
    "imagePullSecrets",
    "env",
    "envFrom",
    "volumes",
    "volumeMounts",
)
"""Fields of `workers` that a run takes when its pods are made, so they change between runs only."""


class WorkersSpec(ResourceModel):
    """The pods that score. A run on one machine takes no notice of their number and placement."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of pods. It may change while the job runs."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements.model_construct)
    """What each pod may use. It may change while the job is suspended."""
    node_selector: Annotated[Labels, Field(max_length=64)] = Field(default_factory=dict)
    """Labels that a node must have. It may change while the job is suspended."""
    tolerations: Annotated[
        tuple[Toleration, ...], Field(max_length=32, json_schema_extra=_ATOMIC)
    ] = ()
    """Taints that the pods tolerate. It may change while the job is suspended."""
    affinity: Affinity | None = None
    """Nodes and neighbours that the pods want or avoid. It may change while the job is
    suspended."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods. It may change while the job is suspended."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, as GPU nodes may need. It may change while the job is suspended."""
    scheduler_name: ObjectName | None = None
    """Scheduler of the pods. It may change while the job is suspended."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods, for the cloud identity that it carries; one that the operator's
    settings allow. No token of it is mounted. It may change while the job is suspended."""
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Image of the runner; one that the operator's settings allow. It may change while the job is
    suspended."""
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """Secrets with which the image is pulled. They may change while the job is suspended."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64, json_schema_extra=_ATOMIC)] = ()
    """Variables of the runner's environment. They may change while the job is suspended."""
    env_from: Annotated[
        tuple[EnvFromSource, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """Secrets and ConfigMaps whose keys become variables. They may change while the job is
    suspended."""
    volumes: Annotated[tuple[Volume, ...], Field(max_length=16, json_schema_extra=_ATOMIC)] = ()
    """Volumes that `volumeMounts` can name. They may change while the job is suspended."""
    volume_mounts: Annotated[
        tuple[VolumeMount, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """Where volumes appear in the pods. They may change while the job is suspended."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        yield from (("nodeSelector", problem) for problem in problems_of_keys(self.node_selector))
        if self.image is not None and any(character.isspace() for character in self.image):
            yield "image", "must not hold spaces or line breaks"
        yield from self._problems_of_names()
        names = [volume.name for volume in self.volumes]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "volumes", f"volume {name!r} is there twice"
        paths = [mount.mount_path.rstrip("/") for mount in self.volume_mounts]
        for path in sorted({path for path in paths if paths.count(path) > 1}):
            yield "volumeMounts", f"two volumes are mounted at {path!r}"
        for mount in self.volume_mounts:
            if mount.name not in names:
                yield "volumeMounts", f"volume {mount.name!r} is not in volumes"

    def _problems_of_names(self) -> Iterator[tuple[str, str]]:
        """Names of objects that pods cannot be made with; their pattern leaves dots to this."""
        for field, name in (
            ("priorityClassName", self.priority_class_name),
            ("runtimeClassName", self.runtime_class_name),
            ("serviceAccountName", self.service_account_name),
        ):
            if name is not None and re.search(r"\.\.|-\.|\.-", name):
                yield field, "each part between dots must begin and end with a letter or digit"
