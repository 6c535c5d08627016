"""The final report: small enough for a termination message, and written as one."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch_inference_api.runner_contract import ProgressReport

MAX_REPORT_BYTES = 3584
"""Of a termination message only the last 4096 bytes survive."""

_DEFAULT_PATH = "/dev/termination-log"
_logger = logging.getLogger(__name__)


def to_json(report: ProgressReport) -> bytes:
    """Serialise the report, leaving out what is not set."""
    return report.model_dump_json(exclude_none=True).encode()


def fit_report(report: ProgressReport, max_bytes: int = MAX_REPORT_BYTES) -> ProgressReport:
    """Shorten the report until its JSON has at most `max_bytes`.

    Samples go first, then the end of the message, then shard ranges, then the output's location:
    the outcome and the counts always stay.
    """
    for candidate in _ever_shorter(report):
        report = candidate
        if len(to_json(report)) <= max_bytes:
            break
    return report


def _ever_shorter(report: ProgressReport) -> Iterator[ProgressReport]:
    yield report
    for count in range(len(report.failures) - 1, -1, -1):
        report = report.model_copy(update={"failures": report.failures[:count]})
        yield report
    message = report.message or ""
    while len(message) > 80:
        message = message[: len(message) * 7 // 8]
        report = report.model_copy(update={"message": message + "…"})
        yield report
    shards = report.shards.model_copy(update={"completed_indexes": "", "failed_indexes": ""})
    report = report.model_copy(update={"shards": shards})
    yield report
    yield report.model_copy(update={"output": None})


def find_termination_log(environ: Mapping[str, str]) -> Path | None:
    """Where a pod's final report goes: `BIJ_TERMINATION_LOG`, else the kubelet's own file."""
    configured = environ.get("BIJ_TERMINATION_LOG")
    if configured:
        return Path(configured)
    return Path(_DEFAULT_PATH) if os.access(_DEFAULT_PATH, os.W_OK) else None


def write_termination_message(report: ProgressReport, path: Path | None) -> None:
    """Leave the report for the kubelet; a failure is logged and fails nothing.

    The file is written in place: the kubelet mounts that very inode.
    """
    if path is None:
        return
    try:
        path.write_bytes(to_json(report))
    except OSError as error:
        _logger.warning("termination message not written", extra={"error": str(error)})
