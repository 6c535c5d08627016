"""A node: kubelet, containerd and kube-proxy, apart from everything else on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.cluster.binaries import Tools
from testkit.cluster.component import Command, Component
from testkit.cluster.containerd import Containerd
from testkit.cluster.control_groups import NodeGroup
from testkit.cluster.control_plane import ControlPlane
from testkit.cluster.mounts import unmount_below
from testkit.cluster.network import Network
from testkit.cluster.node_settings import kube_proxy_settings, kubelet_settings, pod_network

_LOG_LINKS = Path("/var/log/containers")


class Node:
    """The node with this number, counted from 1."""

    def __init__(
        self,
        index: int,
        *,
        cluster: Path,
        network: Network,
        control_plane: ControlPlane,
        tools: Tools,
    ) -> None:
        self.index = index
        self.name = f"node-{index}"
        self.address = network.addresses.node(index)
        self._folder = cluster / self.name
        self._network = network
        self._control_plane = control_plane
        self._tools = tools
        self._group = NodeGroup(network.node(index))
        self.containerd = Containerd(network.node(index), self._folder / "containerd", tools)

    def component(self, name: str) -> Component:
        return Component(name, self._folder)

    def start_runtime(self) -> None:
        """Make the node's namespace and groups, and start containerd in them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._network.add_node(self.index)
        self._group.create()
        self._write_pod_network()
        self.containerd.write_settings()
        self._start("containerd", *self.containerd.arguments())

    def prepare_runtime(self) -> None:
        """Wait for containerd, and remove what a crashed cluster has left in its store."""
        self.containerd.wait_until_ready()
        if self.containerd.remove_leftovers():
            self.component("containerd").restart()
            self.containerd.wait_until_ready()

    def join(self) -> None:
        """Start the kubelet, which registers the node, and kube-proxy; needs the API server."""
        self._start("kubelet", *self._kubelet_arguments())
        self._start("kube-proxy", *self._kube_proxy_arguments())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the node hang for a while: programs and pods stop where they stand, unheard."""
        self._group.freeze()
        try:
            yield
        finally:
            self._group.thaw()

    def remove(self) -> None:
        """End everything that runs on the node, and undo what was done for it."""
        if self._folder.exists():
            self._empty_runtime()
        self._group.end_everything()
        unmount_below(self._folder)
        self._group.remove()
        self._network.remove_node(self.index)
        self._remove_log_links()

    def _empty_runtime(self) -> None:
        self._group.thaw()
        self.component("kubelet").stop()
        self._group.end_pods()
        if self.component("containerd").is_running():
            self.containerd.remove_leftovers()
            self.component("containerd").stop()

    def _remove_log_links(self) -> None:
        """Remove the one thing that kubelets put where they cannot be told not to."""
        for link in _LOG_LINKS.glob("*.log"):
            if link.is_symlink() and link.readlink().is_relative_to(self._folder):
                link.unlink(missing_ok=True)

    def _start(self, name: str, *arguments: str) -> None:
        command = Command(
            arguments,
            {**os.environ, "PATH": self._tools.search_path},
            self._network.node(self.index),
            control_groups=(self._group.machine_folder,),
        )
        self.component(name).start(command)

    def _write_pod_network(self) -> None:
        folder = self._folder / "containerd" / "cni"
        folder.mkdir(parents=True, exist_ok=True)
        pods = self._network.addresses.pods(self.index)
        settings = pod_network(pods, leases=self._folder / "pod-addresses")
        (folder / "pods.conflist").write_text(json.dumps(settings, indent=2))

    def _kubelet_arguments(self) -> tuple[str, ...]:
        authority = self._control_plane.authority
        user = f"system:node:{self.name}"
        identity = authority.issue(
            self.name, user=user, group="system:nodes", names=(self.name, self.address)
        )
        settings = kubelet_settings(
            folder=self._folder,
            socket=self.containerd.socket,
            cgroup=self._group.path,
            dns=self._network.addresses.control_plane,
            authority=authority.itself.certificate,
            identity=identity,
        )
        return (
            str(self._tools.kubernetes / "kubelet"),
            f"--config={self._write_settings('kubelet-settings', settings)}",
            f"--kubeconfig={self._control_plane.kubeconfig_of(self.name, identity)}",
            f"--root-dir={self._folder / 'kubelet'}",
            f"--cert-dir={self._folder / 'kubelet' / 'pki'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
        )

    def _kube_proxy_arguments(self) -> tuple[str, ...]:
        kubeconfig = self._control_plane.folder / "kube-proxy.kubeconfig"
        settings = kube_proxy_settings(node=self.name, kubeconfig=kubeconfig)
        program = self._tools.kubernetes / "kube-proxy"
        return (str(program), f"--config={self._write_settings('kube-proxy-settings', settings)}")

    def _write_settings(self, name: str, settings: dict[str, object]) -> Path:
        folder = self._folder / "settings"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(settings, indent=2))
        return path
