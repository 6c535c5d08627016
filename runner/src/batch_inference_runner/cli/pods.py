"""`bij driver` and `bij worker`: what the supervisor of a run's pods starts."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_api.pod_contract import HTTP_PORT
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ContractVersionError, RunnerConfig, RunPhase
from batch_inference_runner import logs
from batch_inference_runner.cli.failures import write_error
from batch_inference_runner.cli.heartbeats import start_heartbeat
from batch_inference_runner.cli.interrupts import Interrupts
from batch_inference_runner.errors import ExitCode
from batch_inference_runner.progress.bare_report import bare_report
from batch_inference_runner.progress.counters import Progress
from batch_inference_runner.progress.report import (
    find_termination_log,
    fit_report,
    write_termination_message,
)
from batch_inference_runner.progress.server import ANY_HOST, ProgressServer
from batch_inference_runner.redaction import redact, register_secret

if TYPE_CHECKING:
    import argparse
    from contextlib import ExitStack

    from batch_inference_runner.cli.execution import Result, StartServices
    from batch_inference_runner.schedule.ray_nodes import RayNodes
    from batch_inference_runner.schedule.scorer_process import ScorerProcess

_logger = logging.getLogger(__name__)


def run_driver(arguments: argparse.Namespace, scorer: ScorerProcess) -> int:
    """Run the job of a RunnerConfig, serve its progress, leave the final report."""
    from batch_inference_runner.cli.execution import execute

    logs.configure(json_lines=True)
    _end_with(arguments.parent)
    config = _with_time_left(_read_config(arguments), began=arguments.began)
    progress = Progress(
        config.job,
        run_number=config.run.number,
        attempt=arguments.attempt,
        processed=arguments.processed,
        began=arguments.began,
    )
    start_heartbeat(arguments.heartbeat, progress.milestones)
    result = execute(
        config, scorer, progress=progress, start_services=_services(config, _ip(arguments))
    )
    write_termination_message(result.report, find_termination_log(os.environ))
    _log(result)
    return result.exit_code


def run_worker(arguments: argparse.Namespace) -> int:
    """Score for a driver elsewhere until told to stop."""
    from batch_inference_runner.schedule import worker

    logs.configure(json_lines=True)
    _end_with(arguments.parent)
    start_heartbeat(arguments.heartbeat, lambda: (0, 0, 0))
    config = RunnerConfig.parse(Path(arguments.config).read_bytes())
    stop = threading.Event()
    with Interrupts(stop) as interrupts:
        worker.run(config, stop, ip=_ip(arguments))
        return interrupts.exit_code if stop.is_set() else ExitCode.RETRYABLE


def _read_config(arguments: argparse.Namespace) -> RunnerConfig:
    """Read the config; one that cannot be read is refused with a report, as everything else is."""
    text = Path(arguments.config).read_bytes()
    try:
        return RunnerConfig.parse(text)
    except ContractVersionError as error:
        refused = {"final": True, "reason": Reason.VERSION_SKEW, "message": redact(str(error))}
        report = bare_report(text, attempt=arguments.attempt, phase=RunPhase.FAILED)
        report = fit_report(report.model_copy(update=refused))
        write_termination_message(report, find_termination_log(os.environ))
        raise


def _with_time_left(config: RunnerConfig, *, began: float | None) -> RunnerConfig:
    """Count the deadline from the pod's begin: a driver that is started again gets no new time."""
    seconds = config.budget.active_deadline_seconds
    if seconds is None or began is None:
        return config
    left = max(0, seconds - int(time.monotonic() - began))
    budget = config.budget.model_copy(update={"active_deadline_seconds": left})
    return config.model_copy(update={"budget": budget})


def _ip(arguments: argparse.Namespace) -> str:
    return arguments.ip or os.environ.get("BIJ_POD_IP") or _own_ip()


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
    return int(port) if port.isdecimal() else HTTP_PORT


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


def _end_with(parent: int | None) -> None:
    """Be told to end when the parent, whose process id this is, has ended."""
    if parent is None:
        return
    from batch_inference_runner.parent_death import signal_at_parent_death

    signal_at_parent_death(signal.SIGTERM)
    if os.getppid() != parent:
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
