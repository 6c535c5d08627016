"""What is said at the end of a run, and what to type next."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from batch_inference_runner.cli.wording import count, duration, size
from batch_inference_runner.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_inference_api.runner_contract import ProgressReport, RunnerConfig
    from batch_inference_runner.cli.execution import Result

_LABEL_WIDTH = 12
_SHOWN_REASONS = 3


def summary(result: Result, config: RunnerConfig) -> str:
    """The table that ends a successful run."""
    if result.outcome is not None and result.outcome.already_complete:
        title = "already complete: an equal run finished here before, nothing was scored"
        counts = result.report.rows
        rows = [
            ("rows", f"{count(counts.written)} written, {count(counts.rejected)} rejected"),
            ("output", shown_location(config.output.location.uri)),
        ]
    else:
        title = f"{config.job.namespace}/{config.job.name} succeeded"
        rows = list(_facts(result, config))
    rows.append(("next", _verify_command(config)))
    lines = [title, *(f"  {label:<{_LABEL_WIDTH}}{text}".rstrip() for label, text in rows)]
    return redact("\n".join(lines) + "\n")


def interruption(report: ProgressReport, config: RunnerConfig, command_line: str) -> str:
    """What an interrupted run left, and how to go on."""
    committed = report.rows.written + report.rows.rejected + report.rows.filtered
    shards = f"{count(report.shards.succeeded)} of {count(report.shards.total, 'shard')}"
    where = shown_location(config.output.location.uri)
    kept = (
        f"{shards} ({count(committed, 'row')}) are committed in {where}"
        if report.shards.total
        else "nothing was planned yet"
    )
    return redact(f"interrupted: {kept}\nresume with: {command_line}")


def shown_location(uri: str) -> str:
    """A URI as people type it: local files as paths."""
    return redact(uri.removeprefix("file://"))


def _facts(result: Result, config: RunnerConfig) -> Iterator[tuple[str, str]]:
    report = result.report
    rows, output, model = report.rows, report.output, report.model
    read = rows.written + rows.rejected + rows.filtered
    parts = [f"{count(read)} read", f"{count(rows.written)} written"]
    parts += [f"{count(rows.rejected)} rejected", f"{count(rows.filtered)} filtered"]
    yield "rows", ", ".join(parts)
    rate = report.rows_per_second
    speed = "" if rate is None else f", {count(rate)} rows/s"
    yield "time", f"{duration(result.seconds)}{speed}"
    yield "shards", count(report.shards.succeeded)
    if report.shards.failed:
        yield "", f"{count(report.shards.failed)} failed for good (indexes {_failed(report)})"
    if model is not None:
        yield "model", model.resolved_digest
        yield "", f"{model.execution_provider}, batch size {count(model.batch_size)}"
    if output is not None:
        yield "files", f"{count(output.files)}, {size(output.bytes)}"
    yield "output", shown_location(config.output.location.uri)
    if rows.rejected:
        rejects = output.rejects_uri if output is not None else None
        yield "rejects", shown_location(rejects) if rejects else "not kept: onError is Skip"
        yield from (("", line) for line in _top_reasons(report))


def _failed(report: ProgressReport) -> str:
    return report.shards.failed_indexes or "in the manifest"


def _top_reasons(report: ProgressReport) -> Iterator[str]:
    """The most frequent errors among the samples, with what one of each says."""
    messages = {(failure.stage, failure.error): failure.message for failure in report.failures}
    times = Counter((failure.stage, failure.error) for failure in report.failures)
    if times:
        known = len(report.failures)
        yield "reasons:" if known >= report.rows.rejected else f"reasons of {count(known)} of them:"
    for (stage, error), number in times.most_common(_SHOWN_REASONS):
        yield f"  {count(number)} x {stage}/{error}: {messages[stage, error]}"


def _verify_command(config: RunnerConfig) -> str:
    location = config.output.location
    words = ["bij", "verify", shown_location(location.uri)]
    if location.credentials_dir is not None:
        words += ["--secret-dir", location.credentials_dir]
    return shlex.join(words)
