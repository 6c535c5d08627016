"""A runner's report -> counters of the status. They never go back, whatever a new driver says.

A driver that resumes knows what is committed and not what was in flight, so it begins lower.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic_core import to_json

from batch_inference_api.runner_contract import RunPhase
from batch_inference_api.v1alpha1.status import (
    CompletionStats,
    ModelStatus,
    OutputStatus,
    PartialFailure,
    ProgressStatus,
    ResourcesConsumed,
    ShardStatus,
)
from batch_inference_operator.build.claims import with_claims
from batch_inference_operator.decide.bounds import as_count, as_text
from batch_inference_operator.decide.consumption import with_consumption
from batch_inference_operator.decide.record import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_inference_api.runner_contract import (
        ModelReport,
        OutputReport,
        ProgressReport,
        RowFailure,
    )
    from batch_inference_api.v1alpha1.status import JobStatus

_MAX_SAMPLE_BYTES = 8 * 1024
"""Of all samples together: a final report of an honest runner has less than half of it."""
_MAX_RANGES = 1024
_MAX_URI_BYTES = 1024
_SAME_MOMENT = timedelta(seconds=2)
_LONGEST_IDLE_SECONDS = 10 * 365 * 86400
"""Of what a pod says: the beginning of time is not to be reckoned with."""


def with_report(
    status: JobStatus, report: ProgressReport, *, pod_uid: str | None, now: datetime
) -> JobStatus:
    """The status with everything that a pod's report says about rows, shards, model and output."""
    changes: dict[str, object] = {
        "progress": _progress(status.progress or ProgressStatus(), report, now=now),
        "completion_stats": _completion(status.completion_stats or CompletionStats(), report),
        "shards": _shards(status.shards or ShardStatus(), report),
        "resources_consumed": with_consumption(
            status.resources_consumed or ResourcesConsumed(), report, pod_uid=pod_uid
        ),
    }
    if report.model is not None:
        changes["model"] = _model(report.model)
    if report.output is not None:
        changes["output"] = _output(report.output)
    if report.failures:
        changes["partial_failures"] = tuple(_samples(report.failures))
    return status.model_copy(update=changes)


def at_rest(status: JobStatus) -> JobStatus:
    """The status of a job none of whose rows is scored just now: no rate, no time left."""
    if status.progress is None:
        return status
    progress = status.progress.model_copy(
        update={"rows_per_second": None, "estimated_remaining_seconds": None}
    )
    return status.model_copy(
        update={"progress": progress, "shards": status.shards and _at_rest(status.shards)}
    )


def rows_processed(status: JobStatus) -> int:
    """Rows scored so far, as the status says."""
    return (status.progress.rows_processed if status.progress else None) or 0


def shards_committed(status: JobStatus) -> int:
    """Shards committed so far, as the status says."""
    return (status.shards.succeeded if status.shards else None) or 0


def _progress(before: ProgressStatus, report: ProgressReport, *, now: datetime) -> ProgressStatus:
    rows = report.rows
    processed = _highest(before.rows_processed, rows.processed)
    total = before.rows_total if rows.total is None else as_count(rows.total)
    percentage = before.percentage
    if report.percentage is not None:
        percentage = min(100, _highest(before.percentage, report.percentage))
    return before.model_copy(
        update={
            "rows_processed": processed,
            "rows_total": total,
            "percentage": percentage,
            "summary": summarise(processed, total, percentage),
            "rows_per_second": as_count(report.rows_per_second),
            "estimated_remaining_seconds": as_count(report.estimated_remaining_seconds),
            "last_updated_time": _last_updated(before, report, processed=processed, now=now),
        }
    )


def _last_updated(
    before: ProgressStatus, report: ProgressReport, *, processed: int, now: datetime
) -> str | None:
    """When rows were last scored; the same text where that is no later than was known."""
    known = parse_time(before.last_updated_time)
    got_on = got_on_at(report, now=now)
    if got_on is None and (before.rows_processed is None or processed > before.rows_processed):
        got_on = now
    # Whole seconds of two clocks: what is later by one may be the same moment.
    if got_on is None or (known is not None and got_on - known < _SAME_MOMENT):
        return before.last_updated_time
    return format_time(got_on)


def got_on_at(report: ProgressReport, *, now: datetime) -> datetime | None:
    """When a run last scored a row, also again, or published; None if it does not say."""
    idle = as_count(report.idle_seconds)
    # A runner of an older version tells only its rate.
    if report.phase is RunPhase.FINALIZING or (idle is None and report.rows_per_second):
        return now
    return None if idle is None else now - timedelta(seconds=min(idle, _LONGEST_IDLE_SECONDS))


def summarise(processed: int, total: int | None, percentage: int | None) -> str:
    """`12.2M/20.0M (61%)`, or without what is not known."""
    of_total = "" if total is None else f"/{short_number(total)}"
    rows = f"{short_number(processed)}{of_total}"
    return rows if percentage is None else f"{rows} ({percentage}%)"


def short_number(count: int) -> str:
    """A count in at most four digits: `950`, `12.2M`. Rounds down: nothing is done too early."""
    for size, suffix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            tenths = count * 10 // size
            return f"{tenths // 10}.{tenths % 10}{suffix}"
    return str(count)


def _completion(before: CompletionStats, report: ProgressReport) -> CompletionStats:
    rows = report.rows
    written = _highest(before.successful_count, rows.written)
    rejected = _highest(before.failed_count, rows.rejected)
    filtered = _highest(before.filtered_count, rows.filtered)
    incomplete = before.incomplete_count
    if rows.total is not None:
        incomplete = as_count(rows.total - written - rejected - filtered)
    return before.model_copy(
        update={
            "successful_count": written,
            "failed_count": rejected,
            "filtered_count": filtered,
            "incomplete_count": incomplete,
        }
    )


def _shards(before: ShardStatus, report: ProgressReport) -> ShardStatus:
    found = report.shards
    if found.total <= 0 or found.succeeded < (before.succeeded or 0):
        return before  # the driver has not planned yet, or not yet read what was committed
    return before.model_copy(
        update={
            "total": as_count(found.total),
            "pending": as_count(found.pending),
            "active": as_count(found.active),
            "succeeded": as_count(found.succeeded),
            "failed": as_count(found.failed),
            "completed_indexes": _ranges(found.completed_indexes),
            "failed_indexes": _ranges(found.failed_indexes),
        }
    )


def _at_rest(shards: ShardStatus) -> ShardStatus:
    pending = as_count((shards.pending or 0) + (shards.active or 0))
    return shards.model_copy(update={"pending": pending, "active": 0})


def _ranges(text: str) -> str | None:
    """Ranges of indexes as they are or not at all: cut short they would be wrong."""
    is_told = 0 < len(text) <= _MAX_RANGES and set(text) <= set("0123456789,-")
    return text if is_told else None


def _model(report: ModelReport) -> ModelStatus:
    return ModelStatus().model_copy(
        update={
            "resolved_digest": as_text(report.resolved_digest, 71),
            "execution_provider": as_text(report.execution_provider, 64),
            "batch_size": as_count(report.batch_size),
        }
    )


def _output(report: OutputReport) -> OutputStatus:
    return OutputStatus().model_copy(
        update={
            "storage_uri": _uri(report.storage_uri),
            "manifest_uri": _uri(report.manifest_uri),
            "rejects_uri": _uri(report.rejects_uri),
            "files": as_count(report.files),
            "bytes": as_count(report.bytes),
        }
    )


def _uri(text: str | None) -> str | None:
    return None if text is None else as_text(with_claims(text), _MAX_URI_BYTES)


def _samples(failures: tuple[RowFailure, ...]) -> Iterator[PartialFailure]:
    """As many samples as a status has room for."""
    room = _MAX_SAMPLE_BYTES
    for failure in failures:
        sample = PartialFailure().model_copy(
            update={
                "file": as_text(with_claims(failure.file), _MAX_URI_BYTES),
                "row": as_count(failure.row),
                "byte_offset": as_count(failure.byte_offset),
                "stage": as_text(failure.stage, 64),
                "error": as_text(failure.error, 128),
                "message": as_text(with_claims(failure.message), 512),
            }
        )
        room -= len(to_json(sample))
        if room < 0:
            return
        yield sample


def _highest(before: int | None, now: int | None) -> int:
    return as_count(max(before or 0, now or 0)) or 0
