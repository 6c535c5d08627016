"""The cluster on this machine, from start to end.

    create the network -> etcd, API server, containerd -> wait -> everything else -> node Ready

Its folder below /tmp holds sockets, logs, certificates and pods' files, and what it takes to find a
running cluster again; the cache holds what is worth keeping (see `binaries.py`, `containerd.py`).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.cluster.addresses import Addresses, unused_addresses
from testkit.cluster.binaries import CACHE, Tools, built_tools, one_at_a_time
from testkit.cluster.busybox_image import BUSYBOX, PAUSE, write_busybox_image
from testkit.cluster.component import Component, recorded_components
from testkit.cluster.control_plane import ControlPlane
from testkit.cluster.kubectl import Kubectl
from testkit.cluster.machine import ClusterUnavailable, check_machine
from testkit.cluster.mounts import unmount_below
from testkit.cluster.network import Network
from testkit.cluster.node import Node
from testkit.cluster.storage import (
    ObjectStorage,
    create_shared_folder,
    create_volume,
    local_object_storage,
    start_object_storage,
)
from testkit.deadlines import wait_for

_READY_SECONDS = 90
_RECORD = "cluster.json"
_IMAGES = "images.json"
_VERSIONS_KEPT = 2  # two checkouts may use one cluster


class LocalCluster:
    """A cluster of this machine, running or not."""

    def __init__(self, name: str, addresses: Addresses, tools: Tools) -> None:
        self.name = name
        self.folder = _folder_of(name)
        self.network = Network(name, addresses)
        self.control_plane = ControlPlane(
            self.folder / "control-plane", addresses, self.network.control_plane, tools
        )
        self.kubectl = Kubectl(tools.kubernetes / "kubectl", self.control_plane.kubeconfig)
        self.tools = tools

    @property
    def kubeconfig(self) -> Path:
        return self.control_plane.kubeconfig

    def node(self, index: int) -> Node:
        return Node(
            index,
            cluster=self.folder,
            network=self.network,
            control_plane=self.control_plane,
            tools=self.tools,
        )

    def nodes(self) -> list[Node]:
        """Return the nodes that were added and not removed."""
        found = sorted(self.folder.glob("node-*"))
        return [self.node(int(path.name.rpartition("-")[2])) for path in found]

    def component(self, name: str) -> Component:
        """Find a component: `kube-apiserver`, or on a node `node-1/kubelet`."""
        node, _, program = name.rpartition("/")
        if not node:
            return self.control_plane.component(program)
        return self.node(int(node.removeprefix("node-"))).component(program)

    def add_node(self) -> Node:
        """Add one more node and wait until it is Ready."""
        node = self._reserve_node()
        node.start_runtime()
        self._finish_node(node)
        return node

    def remove_node(self, node: Node) -> None:
        """Take a node away at once, as a cloud does, and delete its object."""
        node.remove()
        shutil.rmtree(self.folder / node.name)
        self.kubectl("delete", "node", node.name, "--ignore-not-found")

    def _reserve_node(self) -> Node:
        """Take the lowest free number; its folder says that it is taken."""
        index = 1
        while True:
            node = self.node(index)
            try:
                (self.folder / node.name).mkdir()
            except FileExistsError:
                index += 1
            else:
                return node

    def load_image(self, archive: Path, name: str) -> None:
        """Give an image from an OCI archive to every node, under a name, and to later nodes."""
        loaded = newest_last(self._loaded_images(), name, archive)
        (self.folder / _IMAGES).write_text(json.dumps(loaded))
        repository = name.rpartition(":")[0]
        versions = [each for each in loaded if each.startswith(f"{repository}:")]
        running = [node for node in self.nodes() if node.component("containerd").is_running()]
        for node in running:
            node.containerd.images.load(archive, name)
            node.containerd.images.keep_only(repository, versions[-_VERSIONS_KEPT:])

    def _loaded_images(self) -> dict[str, str]:
        path = self.folder / _IMAGES
        return json.loads(path.read_text()) if path.exists() else {}

    def wait_for_api_server(self) -> None:
        """Wait until the API server answers, after a test has disturbed it."""
        wait_for(self.kubectl.api_server_is_ready, seconds=_READY_SECONDS, what="the API server")

    def stop(self) -> None:
        """End the cluster and remove everything it has made on this machine, but the cache."""
        for node in self.nodes():
            node.remove()
        for component in self.components():
            component.kill()
        self.network.remove()
        unmount_below(self.folder)
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start the control plane and one node in the network, and wait until it is Ready."""
        self.control_plane.start()
        node = self._reserve_node()
        node.start_runtime()
        start_object_storage(
            self.component("s3"),
            self.object_storage,
            program=self.tools.versitygw / "versitygw",
            folder=self.folder / "s3",
            namespace=self.network.control_plane,
        )
        self.control_plane.finish(self.kubectl)
        self._finish_node(node)
        self.kubectl.wait_for_service_account()
        self._check_that_all_runs()

    @property
    def object_storage(self) -> ObjectStorage:
        return local_object_storage(self.network.addresses.control_plane)

    @property
    def search_path(self) -> str:
        return self.tools.search_path

    def listen(self) -> socket.socket:
        return self.network.listen()

    def create_volume(self, namespace: str, claim: str) -> Path:
        folder = self.folder / "volumes" / namespace / claim
        create_shared_folder(self.kubectl, namespace=namespace, claim=claim, folder=folder)
        return folder

    def offer_volume(self) -> None:
        """See to it that there is a volume which the next claim without a class may take."""
        volumes = self.kubectl.list("persistentvolumes")
        if any(volume["status"].get("phase") == "Available" for volume in volumes):
            return
        name = f"volume-{secrets.token_hex(3)}"
        create_volume(self.kubectl, name, folder=self.folder / "volumes" / name, labels={})

    def components(self) -> list[Component]:
        """Return every component that was started, running or not."""
        folders = [self.control_plane.folder, *self.folder.glob("node-*")]
        return [component for folder in folders for component in recorded_components(folder)]

    def _check_that_all_runs(self) -> None:
        for component in self.components():
            if not component.is_running():
                raise ClusterUnavailable(f"{component.name} ended:\n{component.last_words()}")

    def _finish_node(self, node: Node) -> None:
        node.prepare_runtime()
        image = write_busybox_image(self.folder / "busybox.tar")
        for name in (PAUSE, BUSYBOX):
            node.containerd.images.load(image, name)
        for name, archive in self._loaded_images().items():
            if Path(archive).exists():  # else it is of code that was changed long ago
                node.containerd.images.load(Path(archive), name)
        node.join()
        self.kubectl.wait("node", node.name, until="condition=Ready", seconds=_READY_SECONDS)


def start(name: str) -> LocalCluster:
    """Start a cluster with one node, after removing what an earlier one of that name has left."""
    check_machine()
    tools = built_tools()
    remove(name)
    began = time.monotonic()
    _say(f"Starting Kubernetes on this machine, in {_folder_of(name)}")
    cluster = _with_network(name, tools)
    try:
        cluster.start()
    except BaseException:
        for component in cluster.components():
            _say(f"The end of {component.log}:\n{component.last_words()}")
        cluster.stop()
        raise
    _say(f"The node is Ready after {time.monotonic() - began:.0f} s")
    return cluster


def _with_network(name: str, tools: Tools) -> LocalCluster:
    """Make a cluster's folder and network; until that is done its addresses count as unused."""
    with one_at_a_time(CACHE / "addresses.lock"):
        addresses = unused_addresses()
        cluster = LocalCluster(name, addresses, tools)
        cluster.folder.mkdir(mode=0o700)
        (cluster.folder / _RECORD).write_text(json.dumps({"number": addresses.number}))
        cluster.network.create()
    return cluster


def newest_last(loaded: dict[str, str], name: str, archive: Path) -> dict[str, str]:
    """Add an image to those loaded before; one that is loaded again is the newest too."""
    others = {other: path for other, path in loaded.items() if other != name}
    return {**others, name: str(archive)}


def default_name() -> str:
    """Name the cluster that everybody on this machine shares, unless the environment differs.

    Where pytest-xdist runs tests side by side, each of its workers but the first has another: what
    a test breaks is in nobody's way.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return os.environ.get("BIJ_CLUSTER_NAME", "default") + worker.removeprefix("gw0")


@contextmanager
def running(name: str | None = None) -> Iterator[LocalCluster]:
    """Use the cluster that is running and leave it, or start one and remove it."""
    name = name or default_name()
    with one_at_a_time(CACHE / f"cluster-{name}.lock"):
        found = find(name)
        cluster = found or start(name)
    try:
        yield cluster
    finally:
        if found is None:
            cluster.stop()


def find(name: str) -> LocalCluster | None:
    """Return the cluster of that name if it is running.

    One that does not answer, while anything of it runs, gets the time of any test that disturbs it:
    whoever does not find a cluster replaces it, even under somebody who uses it.
    """
    cluster = _recorded(name)
    if cluster is None or not any(each.is_running() for each in cluster.components()):
        return None
    try:
        cluster.wait_for_api_server()
    except AssertionError:
        return None
    return cluster


def remove(name: str) -> bool:
    """Remove the cluster of that name, running or crashed; False if there was none."""
    cluster = _recorded(name)
    if cluster:
        cluster.stop()
    elif _folder_of(name).exists():
        shutil.rmtree(_folder_of(name))  # what a removal has left that was interrupted
    return cluster is not None


def _recorded(name: str) -> LocalCluster | None:
    """Read the one thing that cannot be told from a cluster's name."""
    try:
        record = json.loads((_folder_of(name) / _RECORD).read_text())
    except FileNotFoundError:
        return None
    return LocalCluster(name, Addresses(record["number"]), built_tools())


def _folder_of(name: str) -> Path:
    """Short, because the path of a socket has at most 107 characters."""
    if not re.fullmatch(r"[a-z0-9]{1,12}", name):
        raise ValueError(f"a cluster is named by 1 to 12 letters and digits, not {name!r}")
    return Path("/tmp") / f"bij-cluster-{name}"


def _say(what: str) -> None:
    print(f"==> {what}", flush=True)
