"""`bij run --workers N`: the members of a run as processes of one machine.

They are the same processes that pods run, and they meet in the same way: `/join` with a token.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_runner.progress.server import ProgressServer
from batch_inference_runner.redaction import register_secret
from batch_inference_runner.schedule.ray_nodes import RayNodes

if TYPE_CHECKING:
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
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bij-run-")))
    token_path = _write_token(folder)
    members = RayNodes(ip=_HOST, token_path=str(token_path))
    server = ProgressServer(
        progress,
        host=_HOST,
        port=port,
        token=token_path.read_text(),
        on_join=members.join,
    )
    stack.callback(server.close)
    server.start()
    config_path = folder / "config.json"
    config_path.write_text(_config_of_worker(config, server.port, token_path).model_dump_json())
    for _ in range(config.workers.replicas - 1):
        stack.callback(_end, _start_worker(config_path))
    return server, members


def _write_token(folder: Path) -> Path:
    token = secrets.token_hex(32)
    register_secret(token)
    path = folder / "token"  # the folder is ours alone: mode 0700
    path.write_text(token)
    return path


def _config_of_worker(config: RunnerConfig, port: int, token_path: Path) -> RunnerConfig:
    run = config.run.model_copy(
        update={"head_address": f"{_HOST}:{port}", "token_path": str(token_path)}
    )
    return config.model_copy(update={"run": run})


def _start_worker(config_path: Path) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "batch_inference_runner", "worker", "--with-parent"]
    # A session of its own: Ctrl-C is for this process, which then ends its workers.
    return subprocess.Popen(
        [*program, "--config", str(config_path), "--ip", _HOST],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
