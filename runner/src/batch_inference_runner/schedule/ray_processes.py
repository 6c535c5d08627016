"""Ray's processes as supervised children: `ray start --block` with everything pinned down.

Ray's own defaults are open: without a token it runs the code of whoever connects. So the token is
forced on, every port is chosen here, and a keeper ends the processes with their parent. Does not
import ray.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCORERS_RESOURCE = "bij-scorers"
THREADS_RESOURCE = "bij-threads"
MEMORY_RESOURCE = "bij-memory-mib"
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Rows never travel through Ray; this is the least that it accepts with room to spare."""
_STOP_SECONDS = 5
_AGENT_PORTS = (
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
    "metrics-export-port",
    "runtime-env-agent-port",
)
"""Named ports spare a node the wait until its agents, which we do not use, have chosen theirs."""


@dataclass(frozen=True, slots=True)
class RayNode:
    """A running `ray start --block` and its keeper."""

    keeper: subprocess.Popen[bytes]

    @property
    def is_running(self) -> bool:
        """Whether all of the node's processes are up; if one ends, so do the others."""
        return self.keeper.poll() is None

    def stop(self) -> None:
        """End the node's processes and remove their files."""
        assert self.keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.keeper.stdin.close()
        try:
            self.keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.keeper.kill()
            self.keeper.wait()


def environment(token_path: str) -> dict[str, str]:
    """Make the environment variables of Ray's processes and of those that connect to them."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_path,
        # gRPC heeds this before http_proxy and https_proxy, which stay: no proxy reaches the pods
        # of a cluster, but scorers, which are below these processes, may need one for their store.
        "grpc_proxy": "",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        "RAY_health_check_initial_delay_ms": "2000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Without an address Ray cannot report that nothing is to be reported.
        "RAY_USAGE_STATS_REPORT_URL": "",
        "RAY_DEDUP_LOGS": "0",
        # Scorers keep to their own limits; Ray would kill the agent above them instead.
        "RAY_memory_monitor_refresh_ms": "0",
        # An agent reserves no GPU, its scorers use them all the same.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }


def start_head(*, ip: str, port: int, token_path: str) -> RayNode:
    """Start the head of a run's Ray cluster; it runs no tasks itself."""
    return _start(
        [
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            "--no-monitor",
            f"--ray-client-server-port={free_ports(ip, 1)[0]}",
        ],
        ip=ip,
        token_path=token_path,
        resources={},
    )


def start_member(
    *, ip: str, address: str, token_path: str, resources: Mapping[str, int]
) -> RayNode:
    """Join a run's Ray cluster at `address`."""
    return _start(
        [f"--address={address}", "--num-cpus=1"],
        ip=ip,
        token_path=token_path,
        resources=resources,
    )


def free_ports(ip: str, count: int) -> list[int]:
    """Find ports that nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((ip, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _start(
    arguments: Sequence[str], *, ip: str, token_path: str, resources: Mapping[str, int]
) -> RayNode:
    ports = free_ports(ip, len(_AGENT_PORTS))
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--block",
        f"--node-ip-address={ip}",
        "--temp-dir={folder}",
        "--num-gpus=0",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        f"--resources={json.dumps(resources)}",
        *(f"--{name}={port}" for name, port in zip(_AGENT_PORTS, ports, strict=True)),
        *arguments,
    ]
    keeper = subprocess.Popen(
        [sys.executable, "-P", "-m", "batch_inference_runner.schedule.ray_keeper", *command],
        env={**os.environ, **environment(token_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    return RayNode(keeper)
