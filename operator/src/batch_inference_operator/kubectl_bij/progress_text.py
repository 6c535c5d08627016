"""A job's progress in a bar, in a line, and in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.v1alpha1.status import (
    CompletionStats,
    ProgressStatus,
    ShardStatus,
    WorkerStatus,
)
from batch_inference_operator.decide.record import parse_time
from batch_inference_operator.durations import format_duration
from batch_inference_operator.kubectl_bij.paint import Tone, tone_of
from batch_inference_operator.kubectl_bij.standing import State
from batch_inference_operator.kubectl_bij.wording import count, note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.kubectl_bij.standing import Standing

    Line = tuple[str, Tone]

BAR_WIDTH = 30
_QUIET_SECONDS = 60.0
_ENDED = (State.COMPLETE, State.FAILED)


def bar(percentage: int | None, width: int = BAR_WIDTH) -> str:
    """`[######------]`; without a percentage an empty one. Full only when all is done."""
    done = 0 if percentage is None else width * percentage // 100
    return f"[{'#' * done}{'-' * (width - done)}]"


def percent(record: Record) -> str:
    """`61 %`, or nothing while it is not known."""
    progress = record.status.progress
    known = progress is not None and progress.percentage is not None
    return f"{progress.percentage} %" if progress and known else ""


def progress_facts(record: Record) -> tuple[str, ...]:
    """Rows, rate, time left, rejects and workers: what is known of them."""
    return tuple(_facts(record))


def _facts(record: Record) -> Iterator[str]:
    progress = record.status.progress or ProgressStatus()
    if progress.rows_processed is not None:
        total = "" if progress.rows_total is None else f"/{count(progress.rows_total)}"
        yield f"{count(progress.rows_processed)}{total} rows"
    if progress.rows_per_second is not None:
        yield f"{count(progress.rows_per_second)} rows/s"
    if progress.estimated_remaining_seconds is not None:
        yield f"{format_duration(progress.estimated_remaining_seconds)} left"
    rejected = (record.status.completion_stats or CompletionStats()).failed_count
    if rejected is not None:
        yield f"{count(rejected)} rejected"
    workers = record.status.workers or WorkerStatus()
    if workers.desired:
        yield f"workers {workers.ready or 0}/{workers.desired}"


def change_line(record: Record, standing: Standing) -> str:
    """All of it in one line, for logs."""
    parts = [standing.word, percent(record), *progress_facts(record)]
    text = "  ".join(filter(None, (record.name, *parts)))
    return f"{text}  {why(standing)}".rstrip()


def why(standing: Standing) -> str:
    """`Reason: message` where there is something to say beyond the phase."""
    if standing.is_behind and not standing.has_trouble:
        return "the spec was changed; the operator is about to look at it"
    if standing.reason in ("", standing.word):
        return note(standing.message)
    return note(f"{standing.reason}: {standing.message}".rstrip(": "))


def job_lines(record: Record, standing: Standing, *, now: datetime) -> tuple[Line, ...]:
    """Lines that are redrawn in place for one job."""
    head = f"{record.name}  {standing.word}  {bar(_percentage(record))}  {percent(record)}"
    lines = [(head.rstrip(), tone_of(standing))]
    if facts := progress_facts(record):
        lines.append((f"  {'  '.join(facts)}", Tone.PLAIN))
    if pace := "  ".join(_pace(record, standing, now)):
        lines.append((f"  {pace}", Tone.QUIET))
    lines.append((f"  {why(standing)}", Tone.TROUBLE if standing.has_trouble else Tone.QUIET))
    return tuple(lines)


def _pace(record: Record, standing: Standing, now: datetime) -> Iterator[str]:
    shards = record.status.shards or ShardStatus()
    if shards.total:
        yield f"{count(shards.succeeded or 0)}/{count(shards.total, 'shard')} committed"
    if record.run_number:
        yield f"run {record.run_number}"
    began = parse_time(record.status.start_time)
    if began is not None and standing.state not in _ENDED:
        yield f"for {format_duration((now - began).total_seconds())}"
    if quiet := quiet_for(record, standing, now=now):
        yield f"no row scored for {quiet}"


def quiet_for(record: Record, standing: Standing, *, now: datetime) -> str:
    """How long no row was scored, if that is long for a job whose rows are being scored."""
    progress = record.status.progress
    last = parse_time(progress.last_updated_time) if progress else None
    if last is None or standing.state is not State.IN_PROGRESS or standing.word != "Running":
        return ""
    seconds = (now - last).total_seconds()
    return format_duration(seconds) if seconds >= _QUIET_SECONDS else ""


def table_lines(jobs: tuple[tuple[Record, Standing], ...]) -> tuple[Line, ...]:
    """One line for each job, in columns."""
    rows = [
        (
            record.name,
            standing.word,
            f"{bar(_percentage(record), 12)} {percent(record)}".rstrip(),
            "  ".join(progress_facts(record)),
            why(standing) if standing.has_trouble or standing.state is State.FAILED else "",
        )
        for record, standing in jobs
    ]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    return tuple(
        (_in_columns(row, widths), tone_of(standing))
        for row, (_, standing) in zip(rows, jobs, strict=True)
    )


def _in_columns(row: tuple[str, ...], widths: list[int]) -> str:
    padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
    return "  ".join(padded).rstrip()


def _percentage(record: Record) -> int | None:
    return record.status.progress.percentage if record.status.progress else None
