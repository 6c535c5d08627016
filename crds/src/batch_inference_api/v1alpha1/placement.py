"""spec.workers: on which nodes pods may run, in the words of a pod."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from batch_inference_api.v1alpha1.names import (
    LabelKey,
    Labels,
    LabelValue,
    problems_of_keys,
)
from batch_inference_api.v1alpha1.resource import ResourceModel, Rule

_ATOMIC = {"x-kubernetes-list-type": "atomic"}
Weight = Annotated[int, Field(ge=1, le=100)]
Values = Annotated[tuple[LabelValue, ...], Field(max_length=64, json_schema_extra=_ATOMIC)]


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

    key: LabelKey | None = None
    """Key of the taint; without it, and with `Exists`, every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """`Equal` (the default) compares the value, `Exists` does not."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; without it, every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """How long a `NoExecute` taint is tolerated."""


class _Requirement(ResourceModel):
    """What `In`, `NotIn`, `Exists` and `DoesNotExist` ask of their values."""

    rules = (
        Rule(
            "(self.operator in ['Exists', 'DoesNotExist']) == (!has(self.values)"
            " || size(self.values) == 0)",
            "operators Exists and DoesNotExist take no values, every other needs some",
            lambda self: (self.operator in ("Exists", "DoesNotExist")) == (not self.values),
            "values",
        ),
    )

    key: LabelKey
    """Key of the label."""
    values: Values = ()
    """Values to compare with."""


class NodeSelectorRequirement(_Requirement):
    """A condition on one label of a node."""

    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label is compared."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        is_number = len(self.values) == 1 and self.values[0].isdecimal()
        if self.operator in ("Gt", "Lt") and self.values and not is_number:
            yield "values", "Gt and Lt compare with one whole number"


class LabelSelectorRequirement(_Requirement):
    """A condition on one label of a pod."""

    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared."""


class NodeSelectorTerm(ResourceModel):
    """Conditions on a node, all of which must hold."""

    match_expressions: Annotated[
        tuple[NodeSelectorRequirement, ...], Field(max_length=32, json_schema_extra=_ATOMIC)
    ] = ()
    """Conditions on labels."""
    match_fields: Annotated[
        tuple[NodeSelectorRequirement, ...], Field(max_length=8, json_schema_extra=_ATOMIC)
    ] = ()
    """Conditions on fields, of which there is `metadata.name`."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        for field in self.match_fields:
            is_known = field.key == "metadata.name" and field.operator in ("In", "NotIn")
            if not is_known or len(field.values) != 1:
                yield "matchFields", "each is metadata.name, In or NotIn, with one value"


class NodeSelector(ResourceModel):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[
        tuple[NodeSelectorTerm, ...],
        Field(min_length=1, max_length=16, json_schema_extra=_ATOMIC),
    ]
    """The terms."""


class PreferredNodes(ResourceModel):
    """Nodes that are better than others."""

    weight: Weight
    """How much better, from 1 to 100."""
    preference: NodeSelectorTerm
    """Which nodes."""


class NodeAffinity(ResourceModel):
    """Nodes on which pods run, by label."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes that qualify."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredNodes, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """Nodes that are better than others."""


class LabelSelector(ResourceModel):
    """Pods, by label."""

    match_labels: Annotated[Labels, Field(max_length=32)] = Field(default_factory=dict)
    """Labels that a pod must have."""
    match_expressions: Annotated[
        tuple[LabelSelectorRequirement, ...], Field(max_length=32, json_schema_extra=_ATOMIC)
    ] = ()
    """Conditions on labels."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        yield from (("matchLabels", problem) for problem in problems_of_keys(self.match_labels))


class PodAffinityTerm(ResourceModel):
    """Pods, and the part of the cluster that is shared with them, or is not."""

    label_selector: LabelSelector | None = None
    """Which pods of the job's namespace."""
    topology_key: LabelKey
    """Label of the nodes that make up such a part, as `topology.kubernetes.io/zone`."""


class WeightedPodAffinityTerm(ResourceModel):
    """A term that is better met."""

    weight: Weight
    """How much better, from 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """The term."""


class PodAffinity(ResourceModel):
    """Pods to be near to, or away from."""

    required_during_scheduling_ignored_during_execution: Annotated[
        tuple[PodAffinityTerm, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """Terms that must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeightedPodAffinityTerm, ...], Field(max_length=16, json_schema_extra=_ATOMIC)
    ] = ()
    """Terms that are better met."""


class Affinity(ResourceModel):
    """Where pods run, beyond `nodeSelector`, as in a pod."""

    node_affinity: NodeAffinity | None = None
    """By labels of nodes."""
    pod_affinity: PodAffinity | None = None
    """Near to other pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Away from other pods."""
