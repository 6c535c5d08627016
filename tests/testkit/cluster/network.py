"""The cluster's wires: a network namespace for the control plane and one for each node.

    this machine --veth-- control plane (a bridge) --veth-- node 1 --veth-- its pods
                                                   --veth-- node 2 --veth-- its pods

Nothing is translated: each pod is reached by its own address, from this machine too. The machine's
firewall and its own interfaces stay as they are, and no namespace has a way out to the internet.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testkit.cluster.addresses import Addresses

_BRIDGE = "machines"
_BRIDGE_MAC = "02:00:00:00:00:02"
_UPLINK = "eth0"
_CLONE_NEWNET = 0x40000000  # linux/sched.h


class Network:
    """The namespaces of one cluster, named after it."""

    def __init__(self, cluster: str, addresses: Addresses) -> None:
        self.control_plane = f"bij-{cluster}"
        self.addresses = addresses
        self._host_link = f"bij{addresses.number}"

    def node(self, index: int) -> str:
        return f"{self.control_plane}-node-{index}"

    def create(self) -> None:
        """Make the control plane's namespace and connect this machine to it."""
        inside = self.control_plane
        _ip("netns", "add", inside)
        _ip("-n", inside, "link", "set", "lo", "up")
        # Without an address of its own it takes one of its ports', and is lost when that port goes.
        _ip("-n", inside, "link", "add", _BRIDGE, "address", _BRIDGE_MAC, "type", "bridge")
        _give_address(inside, _BRIDGE, self.addresses.control_plane)
        _ip("link", "add", self._host_link, "type", "veth", "peer", "name", "host", "netns", inside)
        _plug_in(inside, "host")
        _ip("address", "add", f"{self.addresses.host}/24", "dev", self._host_link)
        _ip("link", "set", self._host_link, "up")

    def add_node(self, index: int) -> None:
        """Make a node's namespace, plug it in, and tell everyone where its pods are."""
        inside, port = self.node(index), f"node-{index}"
        _ip("netns", "add", inside)
        _ip("-n", inside, "link", "set", "lo", "up")
        peer = ("peer", "name", _UPLINK, "netns", inside)
        _ip("-n", self.control_plane, "link", "add", port, "type", "veth", *peer)
        _plug_in(self.control_plane, port)
        _give_address(inside, _UPLINK, self.addresses.node(index))
        self._route_pods_of(index)
        if index == 1:  # its kube-proxy knows Services; one node is enough for this machine
            _ip("route", "add", str(self.addresses.services), "via", self.addresses.node(1))

    def listen(self) -> socket.socket:
        """Return a socket of this process that listens where the control plane does.

        A socket stays in the namespace it was made in; so does the thread, which therefore ends.
        """
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._listen_inside).result()

    def _listen_inside(self) -> socket.socket:
        with Path("/run/netns", self.control_plane).open() as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return socket.create_server((self.addresses.control_plane, 0))

    def remove_node(self, index: int) -> None:
        _delete_namespace(self.node(index))

    def remove(self) -> None:
        """Delete the cluster's namespaces, and with them every link and route."""
        for name in _existing_namespaces():
            if name == self.control_plane or name.startswith(f"{self.control_plane}-node-"):
                _delete_namespace(name)
        subprocess.run(
            ["ip", "link", "delete", self._host_link], check=False, stderr=subprocess.DEVNULL
        )

    def _route_pods_of(self, index: int) -> None:
        route = ("replace", str(self.addresses.pods(index)), "via", self.addresses.node(index))
        _ip("route", *route)
        _ip("-n", self.control_plane, "route", *route)
        for other in _existing_namespaces():
            if not other.startswith(f"{self.control_plane}-node-") or other == self.node(index):
                continue
            _ip("-n", other, "route", *route)
            known = int(other.rpartition("-")[2])
            back = ("replace", str(self.addresses.pods(known)), "via", self.addresses.node(known))
            _ip("-n", self.node(index), "route", *back)


def _existing_namespaces() -> list[str]:
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _delete_namespace(name: str) -> None:
    if name in _existing_namespaces():
        _ip("netns", "delete", name)


def _give_address(namespace: str, interface: str, address: str) -> None:
    _ip("-n", namespace, "address", "add", f"{address}/24", "dev", interface)
    _ip("-n", namespace, "link", "set", interface, "up")


def _plug_in(namespace: str, port: str) -> None:
    _ip("-n", namespace, "link", "set", port, "master", _BRIDGE)
    _ip("-n", namespace, "link", "set", port, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
