"""What the operator needs to be allowed; the chart's roles are compared with it."""

from __future__ import annotations

from dataclasses import dataclass

from batch_inference_api.v1alpha1.job import GROUP, PLURAL


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource; `subresource` is empty for the resource itself."""

    group: str
    resource: str
    verb: str
    subresource: str = ""

    def __str__(self) -> str:
        plural = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {plural}" + (f"/{self.subresource}" if self.subresource else "")


def _rights(group: str, resource: str, *verbs: str, subresource: str = "") -> tuple[Right, ...]:
    return tuple(Right(group, resource, verb, subresource) for verb in verbs)


JOB_RIGHTS = (
    *_rights(GROUP, PLURAL, "list", "watch"),
    *_rights(GROUP, PLURAL, "patch", subresource="status"),
    *_rights("batch", "jobs", "get", "list", "watch", "create", "patch", "delete"),
    *_rights("", "pods", "list", "watch"),
    *_rights("", "services", "create"),
    *_rights("", "secrets", "create"),  # never read: whoever may read one may read all
    *_rights("", "events", "list", "create"),
)
"""In every namespace whose jobs are run."""
NETWORK_POLICY_RIGHTS = _rights("networking.k8s.io", "networkpolicies", "create")
"""There too, if runs get a NetworkPolicy."""
LEASE_RIGHTS = _rights("coordination.k8s.io", "leases", "create", "get", "update")
"""In the operator's own namespace, if replicas choose a leader."""
