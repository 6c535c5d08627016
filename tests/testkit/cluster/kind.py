"""A cluster in Docker containers, made by `kind`: the same tests where Docker is at hand."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.cluster.binaries import built_versitygw
from testkit.cluster.busybox_image import BUSYBOX, write_busybox_image
from testkit.cluster.component import Component
from testkit.cluster.existing import required_program
from testkit.cluster.image_store import ImageStore
from testkit.cluster.kubectl import Kubectl
from testkit.cluster.machine import ClusterUnavailable
from testkit.cluster.storage import (
    ObjectStorage,
    create_claim,
    local_object_storage,
    start_object_storage,
)

_NAME = "bij-tests"


class KindCluster:
    """The cluster that `kind` knows under our name."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.kubectl = Kubectl(Path(required_program("kubectl")), self.kubeconfig)
        self.search_path = os.environ["PATH"]
        self.object_storage: ObjectStorage = local_object_storage(_address_of_this_machine())

    def listen(self) -> socket.socket:
        return socket.create_server((_address_of_this_machine(), 0))

    def load_image(self, archive: Path, name: str) -> None:
        for node in _output("kind", "get", "nodes", "--name", _NAME).split():
            in_node = ("docker", "exec", "--interactive", node)
            ImageStore((*in_node, "ctr", "--namespace", "k8s.io")).load(archive, name)

    def create_volume(self, namespace: str, claim: str) -> None:
        create_claim(self.kubectl.within(namespace), claim)


@contextmanager
def running() -> Iterator[KindCluster]:
    """Use the cluster that is there and leave it, or make one and delete it."""
    for program in ("docker", "kind", "kubectl", "busybox"):
        required_program(program)
    if subprocess.run(["docker", "info"], check=False, capture_output=True).returncode != 0:
        raise ClusterUnavailable("`docker info` fails: kind needs a running Docker engine")
    existed = _NAME in _output("kind", "get", "clusters").split()
    with tempfile.TemporaryDirectory(prefix="bij-kind-") as folder:
        try:
            if not existed:
                _call("create", "cluster", "--wait", "180s", "--kubeconfig", f"{folder}/kubeconfig")
            _call("export", "kubeconfig", "--kubeconfig", f"{folder}/kubeconfig")
            cluster = KindCluster(Path(folder))
            cluster.load_image(write_busybox_image(Path(folder) / "busybox.tar"), BUSYBOX)
            with _running(cluster.object_storage, Path(folder)):
                yield cluster
        finally:
            if not existed:
                _call("delete", "cluster")


@contextmanager
def _running(storage: ObjectStorage, folder: Path) -> Iterator[None]:
    """Run the S3 server on this machine; containers reach it by their network's gateway."""
    server = Component("s3", folder)
    program = built_versitygw() / "versitygw"
    start_object_storage(server, storage, program=program, folder=folder / "s3-files")
    try:
        yield
    finally:
        server.stop()


def _address_of_this_machine() -> str:
    networks = json.loads(_output("docker", "network", "inspect", "kind"))
    gateways = [entry["Gateway"] for entry in networks[0]["IPAM"]["Config"] if "Gateway" in entry]
    return next(each for each in gateways if ipaddress.ip_address(each).version == 4)


def _call(*arguments: str) -> None:
    subprocess.run(["kind", *arguments, "--name", _NAME], check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
