"""spec.workers: how many pods score, what each may use, and where they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from batch_inference_api.v1alpha1.names import ObjectName
from batch_inference_api.v1alpha1.quantity import Quantity, parse_quantity
from batch_inference_api.v1alpha1.resource import ResourceModel, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

ResourceList = Annotated[
    dict[Annotated[str, Field(max_length=253)], Quantity], Field(max_length=16)
]
LabelValue = Annotated[str, Field(max_length=63)]


class ResourceRequirements(ResourceModel):
    """Compute resources of one pod."""

    requests: ResourceList = Field(default_factory=dict)
    """What the scheduler sets aside for the pod: `cpu`, `memory`, extended resources."""
    limits: ResourceList = Field(default_factory=dict)
    """What the pod may use at most. The scorers stay below the memory limit."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        for name, requested in self.requests.items():
            limit = self.limits.get(name)
            if limit is not None and parse_quantity(requested) > parse_quantity(limit):
                yield "requests", f"{name} requests more ({requested}) than its limit ({limit})"


class Toleration(ResourceModel):
    """A taint that the pods tolerate, as in a pod."""

    rules = (
        Rule(
            "!(has(self.operator) && self.operator == 'Exists' && has(self.value))",
            "operator Exists takes no value",
            lambda self: self.operator != "Exists" or self.value is None,
            "value",
        ),
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "without a key the operator must be Exists",
            lambda self: self.key is not None or self.operator == "Exists",
            "key",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds needs the effect NoExecute",
            lambda self: self.toleration_seconds is None or self.effect == "NoExecute",
            "tolerationSeconds",
        ),
    )

    key: Annotated[str, Field(min_length=1, max_length=316)] | None = None
    """Key of the taint; without it, and with `Exists`, every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """`Equal` (the default) compares the value, `Exists` does not."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; without it, every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """How long a `NoExecute` taint is tolerated."""


class WorkersSpec(ResourceModel):
    """The pods that score. A run on one machine takes no notice of their number and placement."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of pods. It may change while the job runs."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """What each pod may use. It may change while the job is suspended."""
    node_selector: Annotated[
        dict[Annotated[str, Field(max_length=316)], LabelValue], Field(max_length=64)
    ] = Field(default_factory=dict)
    """Labels that a node must have. It may change while the job is suspended."""
    tolerations: Annotated[
        tuple[Toleration, ...],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """Taints that the pods tolerate. It may change while the job is suspended."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods. It may change while the job is suspended."""
