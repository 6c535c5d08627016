"""A namespace of its own for each test, which refuses every pod that is not `restricted`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.cluster.kubectl import Kubectl
from testkit.cluster.provider import Cluster

_LONGEST_NAME = 40


@dataclass(frozen=True)
class Namespace:
    """A namespace: its name, kubectl in it, and the cluster around it."""

    name: str
    kubectl: Kubectl
    cluster: Cluster

    def create_volume(self, claim: str) -> Path | None:
        """Create a claim that pods may mount; return its folder on this machine if it has one."""
        return self.cluster.create_volume(self.name, claim)


@contextmanager
def fresh_namespace(cluster: Cluster, test: str) -> Iterator[Namespace]:
    """Create a namespace named after a test, and delete it afterwards without waiting for that."""
    readable = re.sub(r"[^a-z0-9]+", "-", test.lower())[:_LONGEST_NAME].strip("-")
    name = f"{readable}-{secrets.token_hex(3)}"
    kubectl = cluster.kubectl.within(name)
    cluster.kubectl.apply(_manifest(name))
    try:
        kubectl.wait_for_service_account()
        yield Namespace(name, kubectl, cluster)
    finally:
        cluster.kubectl.delete("namespace", name)
        for volume in cluster.kubectl.list("persistentvolumes", labels=f"tests/namespace={name}"):
            cluster.kubectl.delete("persistentvolume", volume["metadata"]["name"])


def _manifest(name: str) -> dict[str, object]:
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in _MODES}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}}


_MODES = ("enforce", "audit", "warn")
