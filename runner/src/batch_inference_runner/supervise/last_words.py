"""The report of a supervisor that gives up: what was seen of its driver.

A driver that ends by itself leaves a report; one that was killed does not, and one that was started
again must not be shown with the words of the one before.
"""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_api.runner_contract import ContractVersionError, ProgressReport, RunPhase
from batch_inference_runner import logs
from batch_inference_runner.progress.bare_report import bare_report
from batch_inference_runner.progress.report import (
    find_termination_log,
    fit_report,
    write_termination_message,
)
from batch_inference_runner.quota import memory_kills
from batch_inference_runner.supervise.decision import MAX_RESTARTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch_inference_runner.supervise.heartbeat import Beat

_logger = logging.getLogger(__name__)


def forget_report(environ: Mapping[str, str]) -> None:
    """Empty the termination message in place, so that nobody takes it for the next driver's."""
    path = find_termination_log(environ)
    if path is None or not path.exists():
        return
    try:
        os.truncate(path, 0)
    except OSError as error:
        _logger.warning("the last driver's report was not removed", extra={"error": str(error)})


def leave_report(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    status: int,
    hung: bool,
    beat: Beat,
) -> None:
    """Write a report that is not final: the run may go on in another pod.

    Args:
        command: what started the driver; its config says whose run it is.
        environ: BIJ_TERMINATION_LOG is looked at.
        status: the last driver's exit status.
        hung: whether it was killed because it gave no sign of life.
        beat: the last that was heard of it.
    """
    logs.configure(json_lines=True)
    path = find_termination_log(environ)
    said = _read_report(path)
    message = describe(status, hung=hung, said=said.message if said else None)
    _logger.error("gave up", extra={"reason": message})
    report = said or bare_report(
        _config_of(command), attempt=beat.attempt, phase=RunPhase.INTERRUPTED
    )
    changes = {"final": False, "reason": None, "phase": RunPhase.INTERRUPTED, "message": message}
    write_termination_message(fit_report(report.model_copy(update=changes)), path)


def describe(status: int, *, hung: bool, said: str | None = None) -> str:
    """Say how the last driver ended, and what may be done about it."""
    if hung:
        how = "gave no sign of life and was killed"
    elif status < 0:
        how = f"was ended by {signal.Signals(-status).name}"
    else:
        how = f"ended with exit code {status}"
    memory = ""
    if status == -signal.SIGKILL and not hung and memory_kills():
        memory = "; the container has run out of memory: raise spec.workers.resources.limits.memory"
    words = f"; it said: {said}" if said else ""
    return (
        f"the driver was started {MAX_RESTARTS + 1} times in a row without committing a shard; the "
        f"last one {how}{memory}{words}"
    )


def _read_report(path: Path | None) -> ProgressReport | None:
    try:
        return ProgressReport.parse(path.read_bytes()) if path is not None else None
    except (OSError, ContractVersionError):
        return None


def _config_of(command: Sequence[str]) -> bytes:
    """Read the file that the option `--config FILE` names."""
    try:
        return Path(command[command.index("--config") + 1]).read_bytes()
    except (ValueError, IndexError, OSError):
        return b""
