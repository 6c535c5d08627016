"""`bij run --workers N`: the members of a run as processes of one machine.

They are the same processes that pods run, and they meet in the same way: `/join` with a token.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

from batch_inference_runner.progress.server import ProgressServer
from batch_inference_runner.redaction import register_secret
from batch_inference_runner.schedule.ray_nodes import RayNodes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.progress.counters import Progress

_HOST = "127.0.0.1"
_END_SECONDS = 10


def start_members(
    progress: Progress, config: RunnerConfig, *, port: int, stack: ExitStack
) -> tuple[ProgressServer, RayNodes]:
    """Start all workers but the first, which is this process, and the server they join through.

    `config.workers` already holds one worker's share of the machine. What was started ends with
    `stack`, or with this process. Raises OSError when the port is taken.
    """
    token = secrets.token_hex(32)
    register_secret(token)
    token_path = _file_in_memory("bij-token", token, stack)
    members = RayNodes(ip=_HOST, token_path=token_path, gpus=bool(config.workers.gpus))
    members.expect_workers()
    server = ProgressServer(
        progress,
        host=_HOST,
        port=port,
        token=token,
        on_join=members.join,
    )
    stack.callback(server.close)
    server.start()
    document = _config_of_worker(config, server.port, token_path).model_dump_json()
    config_path = _file_in_memory("bij-config", document, stack)
    stack.callback(_end, [_start_worker(config_path) for _ in range(config.workers.replicas - 1)])
    return server, members


def _file_in_memory(name: str, text: str, stack: ExitStack) -> str:
    """A file that only this user can open, by the path returned, and that ends with this process.

    Nothing is left on disk however the process ends.
    """
    descriptor = os.memfd_create(name)
    stack.callback(os.close, descriptor)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _config_of_worker(config: RunnerConfig, port: int, token_path: str) -> RunnerConfig:
    run = config.run.model_copy(
        update={"head_address": f"{_HOST}:{port}", "token_path": token_path}
    )
    return config.model_copy(update={"run": run})


def _start_worker(config_path: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-P", "-m", "batch_inference_runner", "worker"]
    # A session of its own: Ctrl-C is for this process, which then ends its workers.
    return subprocess.Popen(
        [*program, "--config", config_path, "--ip", _HOST, "--parent", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
