"""Which addresses a cluster uses.

They are cut from 198.18.0.0/15, which is set aside for benchmarks between networks (RFC 2544), so
that no network this machine may be in has a use for them.

    .0.1       this machine        .0.11, .0.12, ...   the nodes
    .0.2       the control plane   .1.0/24, .2.0/24    the pods of each node
    .16.0/20   Services
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Network

_RESERVED = IPv4Network("198.18.0.0/15")
_BLOCKS = tuple(_RESERVED.subnets(new_prefix=19))


@dataclass(frozen=True)
class Addresses:
    """The addresses of the cluster with this number."""

    number: int

    @property
    def block(self) -> IPv4Network:
        return _BLOCKS[self.number]

    @property
    def host(self) -> str:
        return str(self.block[1])

    @property
    def control_plane(self) -> str:
        return str(self.block[2])

    @property
    def services(self) -> IPv4Network:
        return list(self.block.subnets(new_prefix=20))[1]

    def node(self, index: int) -> str:
        return str(self.block[10 + index])

    def pods(self, index: int) -> IPv4Network:
        return list(self.block.subnets(new_prefix=24))[index]


def unused_addresses() -> Addresses:
    """Return addresses that this machine has no route to yet."""
    listed = subprocess.run(
        ["ip", "-4", "-json", "route", "show", "table", "all"],
        check=True,
        capture_output=True,
        text=True,
    )
    routes = [route["dst"] for route in json.loads(listed.stdout or "[]")]
    used = [IPv4Network(route) for route in routes if route != "default"]
    for number, block in enumerate(_BLOCKS):
        if not any(route.subnet_of(block) or block.subnet_of(route) for route in used):
            return Addresses(number)
    raise RuntimeError(f"all of {_RESERVED} is in use on this machine: too many test clusters?")
