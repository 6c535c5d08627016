"""Who runs the cluster under the tests: this machine, kind, or somebody whose kubeconfig was named.

    BIJ_CLUSTER_PROVIDER=local [BIJ_CLUSTER_NAME=default]       the default: see `local.py`
    BIJ_CLUSTER_PROVIDER=kind                                   Docker and the program `kind`
    BIJ_CLUSTER_PROVIDER=existing BIJ_KUBECONFIG=FILE           a cluster that may be written to

A kubeconfig that merely happens to be there, in KUBECONFIG or the home directory, is never used.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from testkit.cluster import existing, kind, local
from testkit.cluster.kubectl import Kubectl
from testkit.cluster.machine import ClusterUnavailable
from testkit.cluster.storage import ObjectStorage


class Cluster(Protocol):
    """What tests may ask of any cluster; `LocalCluster` can do more: break, and grow."""

    kubectl: Kubectl

    @property
    def kubeconfig(self) -> Path: ...

    @property
    def search_path(self) -> str:
        """PATH with a kubectl and a helm that fit the cluster."""

    @property
    def object_storage(self) -> ObjectStorage:
        """An S3 server that pods and this machine reach under the same address."""

    def listen(self) -> socket.socket:
        """Listen on a free port that pods and this machine reach under the same address."""

    def load_image(self, archive: Path, name: str) -> None:
        """Give an image from an OCI archive to every node, under a name; fast if it is there."""

    def create_volume(self, namespace: str, claim: str) -> Path | None:
        """Create a claim that pods may mount; return its folder on this machine if it has one."""


@contextmanager
def chosen_cluster() -> Iterator[Cluster]:
    """Find or start the cluster that the environment names; one that was running goes on."""
    name = os.environ.get("BIJ_CLUSTER_PROVIDER", "local")
    providers = {"local": local.running, "kind": kind.running, "existing": existing.running}
    if name not in providers:
        raise ClusterUnavailable(
            f"BIJ_CLUSTER_PROVIDER={name!r} is not one of {', '.join(sorted(providers))}"
        )
    with providers[name]() as cluster:
        yield cluster
