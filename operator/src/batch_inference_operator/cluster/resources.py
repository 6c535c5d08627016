"""Where each kind that the operator touches lives below the API server's root."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from batch_inference_api.v1alpha1.job import GROUP, PLURAL, VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One namespaced kind of the API."""

    kind: str
    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, *, part: str = "") -> str:
        """Path of one object, of its subresource `part`, or of all in a namespace or cluster."""
        root = "/api" if "/" not in self.api_version else "/apis"
        scope = [] if namespace is None else ["namespaces", namespace]
        words = [*scope, self.plural, *filter(None, (name, part))]
        return "/".join([root, self.api_version, *(quote(word, safe="") for word in words)])


RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource(
            kind="BatchInferenceJob",
            api_version=f"{GROUP}/{VERSION}",
            plural=PLURAL,
        ),
        Resource(kind="Job", api_version="batch/v1", plural="jobs"),
        Resource(kind="Pod", api_version="v1", plural="pods"),
        Resource(kind="Service", api_version="v1", plural="services"),
        Resource(kind="Secret", api_version="v1", plural="secrets"),
        Resource(kind="Event", api_version="v1", plural="events"),
        Resource(
            kind="NetworkPolicy", api_version="networking.k8s.io/v1", plural="networkpolicies"
        ),
        Resource(kind="Lease", api_version="coordination.k8s.io/v1", plural="leases"),
    )
}
