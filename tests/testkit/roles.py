"""What roles allow, and who has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batch_inference_operator.cluster.rights import Right
from testkit.cluster.kubectl import Kubectl, Manifest


def rights_of(roles: Iterable[Manifest]) -> list[Right]:
    """The single rights that rules give, sorted; each as often as it is given."""
    return sorted(
        Right(group, resource.partition("/")[0], verb, resource.partition("/")[2])
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def roles_of(kubectl: Kubectl, *, namespace: str, account: str) -> Iterator[Manifest]:
    """Every role that is bound to a service account, wherever."""
    subject = {"kind": "ServiceAccount", "namespace": namespace, "name": account}
    for kind in ("clusterrolebindings", "rolebindings"):
        for binding in kubectl.list(kind, everywhere=True):
            if any(subject.items() <= found.items() for found in binding.get("subjects", [])):
                role = binding["roleRef"]
                within = kubectl.within(binding["metadata"].get("namespace", ""))
                yield within.get(role["kind"], role["name"])
