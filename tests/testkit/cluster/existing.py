"""A cluster that somebody runs already, used only if its kubeconfig was named on purpose.

Its nodes must have the images under test or be able to pull them, `busybox_image.BUSYBOX` among
them. For S3 there must be a server that pods and this machine reach: BIJ_S3_ENDPOINT,
BIJ_S3_BUCKET, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from testkit.cluster.kubectl import Kubectl
from testkit.cluster.machine import ClusterUnavailable
from testkit.cluster.storage import ObjectStorage, create_claim


class ExistingCluster:
    """A cluster known by its kubeconfig only."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.kubectl = Kubectl(Path(required_program("kubectl")), kubeconfig)
        self.search_path = os.environ["PATH"]

    @property
    def object_storage(self) -> ObjectStorage:
        return ObjectStorage(
            endpoint=_required("BIJ_S3_ENDPOINT"),
            bucket=_required("BIJ_S3_BUCKET"),
            access_key=_required("AWS_ACCESS_KEY_ID"),
            secret_key=_required("AWS_SECRET_ACCESS_KEY"),
            region=os.environ.get("AWS_REGION", "us-east-1"),
        )

    def listen(self) -> NoReturn:
        raise ClusterUnavailable("who runs an existing cluster has not said how pods reach us")

    def load_image(self, archive: Path, name: str) -> None:
        """Do nothing: no API puts images on nodes, so they have or can pull what is tested."""

    def create_volume(self, namespace: str, claim: str) -> None:
        create_claim(self.kubectl.within(namespace), claim)


@contextmanager
def running() -> Iterator[ExistingCluster]:
    """Use the named cluster, and leave it running."""
    kubeconfig = Path(_required("BIJ_KUBECONFIG"))
    if not kubeconfig.is_file():
        raise ClusterUnavailable(f"BIJ_KUBECONFIG={str(kubeconfig)!r} is not a file")
    cluster = ExistingCluster(kubeconfig)
    if not cluster.kubectl.api_server_is_ready():
        raise ClusterUnavailable(f"no API server answers to {str(kubeconfig)!r}")
    yield cluster


def required_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ClusterUnavailable(f"{name} was not found; this kind of cluster needs it")
    return found


def _required(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ClusterUnavailable(f"with an existing cluster, {variable} must be set")
    return value
