"""Ray's processes as supervised children: `ray start --block` with everything pinned down.

Ray's own defaults are open: it listens on all addresses whatever it is told and, without a token,
runs the code of whoever connects. So the token is forced on, and the processes are children that
are ended with their parent. Does not import ray.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WORKER_RESOURCE = "bij-worker"
THREADS_RESOURCE = "bij-threads"
MEMORY_RESOURCE = "bij-memory-mib"
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Rows never travel through Ray; this is the least that it accepts with room to spare."""
_STOP_SECONDS = 5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class RayNode:
    """A running `ray start --block` and its process group."""

    process: subprocess.Popen[bytes]

    @property
    def is_running(self) -> bool:
        """Whether Ray's processes are up."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the node's processes, the ones that it started too."""
        if self.is_running:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # all of them have ended


def environment(token_path: str) -> dict[str, str]:
    """Make the environment variables of Ray's processes and of those that connect to them."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_path,
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }


def start_head(*, ip: str, port: int, token_path: str, folder: Path) -> RayNode:
    """Start the head of a run's Ray cluster; it runs no tasks itself."""
    return _start(
        ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"],
        ip=ip,
        token_path=token_path,
        folder=folder,
        resources={},
    )


def start_member(
    *, ip: str, address: str, token_path: str, folder: Path, resources: Mapping[str, int]
) -> RayNode:
    """Join a run's Ray cluster at `address`."""
    return _start(
        [f"--address={address}", "--num-cpus=1"],
        ip=ip,
        token_path=token_path,
        folder=folder,
        resources=resources,
    )


def _end_with_parent() -> None:
    """Let `ray start --block`, which ends its own children, end when this process is killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _start(
    arguments: Sequence[str],
    *,
    ip: str,
    token_path: str,
    folder: Path,
    resources: Mapping[str, int],
) -> RayNode:
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--block",
        f"--node-ip-address={ip}",
        "--num-gpus=0",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
        f"--resources={json.dumps(resources)}",
        *arguments,
    ]
    with (folder / f"ray-{os.getpid()}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment(token_path)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 (one system call, its library is loaded)
        )
    return RayNode(process)
