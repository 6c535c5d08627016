"""`bij driver` and `bij worker`: the entry points of a run's pods."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_runner import logs
from batch_inference_runner.cli.failures import write_error
from batch_inference_runner.cli.interrupts import Interrupts
from batch_inference_runner.errors import ExitCode
from batch_inference_runner.progress.report import find_termination_log, write_termination_message
from batch_inference_runner.progress.server import ANY_HOST, ProgressServer
from batch_inference_runner.redaction import register_secret

if TYPE_CHECKING:
    import argparse
    from contextlib import ExitStack

    from batch_inference_runner.cli.execution import Result, StartServices
    from batch_inference_runner.progress.counters import Progress
    from batch_inference_runner.schedule.ray_nodes import RayNodes
    from batch_inference_runner.schedule.scorer_process import ScorerProcess

DEFAULT_PORT = 8080
_logger = logging.getLogger(__name__)


def run_driver(arguments: argparse.Namespace, scorer: ScorerProcess) -> int:
    """Run the job of a RunnerConfig, serve its progress, leave the final report."""
    from batch_inference_runner.cli.execution import execute

    logs.configure(json_lines=True)
    config = RunnerConfig.parse(Path(arguments.config).read_bytes())
    result = execute(config, scorer, start_services=_services(config, arguments.ip or _own_ip()))
    write_termination_message(result.report, find_termination_log(os.environ))
    _log(result)
    return result.exit_code


def run_worker(arguments: argparse.Namespace) -> int:
    """Score for a driver elsewhere until told to stop."""
    from batch_inference_runner.schedule import worker

    logs.configure(json_lines=True)
    config = RunnerConfig.parse(Path(arguments.config).read_bytes())
    if arguments.with_parent:
        _end_with_parent()
    stop = threading.Event()
    with Interrupts(stop) as interrupts:
        worker.run(config, stop, ip=arguments.ip or _own_ip())
        return interrupts.exit_code if stop.is_set() else ExitCode.RETRYABLE


def _services(config: RunnerConfig, ip: str) -> StartServices:
    def start(progress: Progress, stack: ExitStack) -> RayNodes | None:
        token = read_token(config)
        members = _members(config, ip) if token is not None else None
        server = ProgressServer(
            progress,
            host=ANY_HOST,
            port=_port_of(config),
            token=token,
            on_join=None if members is None else members.join,
        )
        stack.callback(server.close)
        server.start()
        return members

    return start


def _members(config: RunnerConfig, ip: str) -> RayNodes:
    from batch_inference_runner.schedule.ray_nodes import RayNodes

    members = RayNodes(ip=ip, token_path=str(config.run.token_path), gpus=bool(config.workers.gpus))
    if config.workers.replicas > 1:
        members.expect_workers()
    return members


def _port_of(config: RunnerConfig) -> int:
    _, _, port = (config.run.head_address or "").rpartition(":")
    return int(port) if port.isdecimal() else DEFAULT_PORT


def _own_ip() -> str:
    """The address that packets to the outside would carry; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 of RFC 5737: routed, never reached
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def read_token(config: RunnerConfig) -> str | None:
    """The run's token, which logs will mask; None for a run of one process."""
    if config.run.token_path is None:
        return None
    token = Path(config.run.token_path).read_text().strip()
    register_secret(token)
    return token


def _end_with_parent() -> None:
    from batch_inference_runner.parent_death import signal_at_parent_death

    signal_at_parent_death(signal.SIGTERM)
    if os.getppid() == 1:
        raise SystemExit(ExitCode.TERMINATED)


def _log(result: Result) -> None:
    report = result.report
    fields = {
        "phase": report.phase.value,
        "exit_code": int(result.exit_code),
        "rows_written": report.rows.written,
        "rows_rejected": report.rows.rejected,
    }
    if result.defect is not None:
        _logger.error("unexpected failure", exc_info=result.defect)
    if result.failure is None:
        _logger.info("run ended", extra=fields)
        return
    _logger.error("run ended", extra=fields | {"reason": result.failure.reason})
    write_error(result.failure)
