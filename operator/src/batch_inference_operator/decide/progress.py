"""A runner's report -> counters of the status. They never go back, whatever a new driver says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.v1alpha1.status import (
    CompletionStats,
    ModelStatus,
    OutputStatus,
    PartialFailure,
    ProgressStatus,
    ResourcesConsumed,
    ShardStatus,
)
from batch_inference_operator.decide.record import format_time

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_api.v1alpha1.status import JobStatus


def with_report(status: JobStatus, report: ProgressReport, *, now: datetime) -> JobStatus:
    """The status with everything that the report says about rows, shards, model and output."""
    done = _completion(status.completion_stats or CompletionStats(), report)
    changes: dict[str, object] = {
        "progress": _progress(status.progress or ProgressStatus(), report, now=now),
        "completion_stats": done,
        "shards": _shards(status.shards or ShardStatus(), report),
        "resources_consumed": _consumed(status.resources_consumed or ResourcesConsumed(), report),
    }
    if report.model is not None:
        changes["model"] = ModelStatus().model_copy(update=dict(report.model))
    if report.output is not None:
        changes["output"] = OutputStatus().model_copy(update=dict(report.output))
    if report.failures:
        changes["partial_failures"] = tuple(
            PartialFailure().model_copy(update=dict(failure)) for failure in report.failures
        )
    return status.model_copy(update=changes)


def at_the_end(status: JobStatus) -> JobStatus:
    """The status of a job whose rows are not counted any more: no rate, no time left."""
    if status.progress is None:
        return status
    progress = status.progress.model_copy(
        update={"rows_per_second": None, "estimated_remaining_seconds": None}
    )
    shards = status.shards and status.shards.model_copy(
        update={"pending": (status.shards.pending or 0) + (status.shards.active or 0), "active": 0}
    )
    return status.model_copy(update={"progress": progress, "shards": shards})


def rows_processed(status: JobStatus) -> int:
    """Rows scored so far, as the status says."""
    return (status.progress.rows_processed if status.progress else None) or 0


def shards_committed(status: JobStatus) -> int:
    """Shards committed so far, as the status says."""
    return (status.shards.succeeded if status.shards else None) or 0


def _progress(before: ProgressStatus, report: ProgressReport, *, now: datetime) -> ProgressStatus:
    rows = report.rows
    processed = _highest(before.rows_processed, rows.processed)
    total = rows.total if rows.total is not None else before.rows_total
    percentage = _highest(before.percentage, report.percentage)
    if total:
        percentage = min(100, 100 * processed // total)
    advanced = before.rows_processed is None or processed > before.rows_processed
    return before.model_copy(
        update={
            "rows_processed": processed,
            "rows_total": total,
            "percentage": percentage,
            "summary": summarise(processed, total, percentage),
            "rows_per_second": report.rows_per_second,
            "estimated_remaining_seconds": report.estimated_remaining_seconds,
            "last_updated_time": format_time(now) if advanced else before.last_updated_time,
        }
    )


def summarise(processed: int, total: int | None, percentage: int | None) -> str:
    """`12.2M/20.0M (61%)`, or without what is not known."""
    rows = (
        short_number(processed)
        if total is None
        else (f"{short_number(processed)}/{short_number(total)}")
    )
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
        incomplete = max(0, rows.total - written - rejected - filtered)
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
    if not found.total or found.succeeded < (before.succeeded or 0):
        return before  # the driver has not planned yet, or not yet read what was committed
    return before.model_copy(
        update={
            "total": found.total,
            "pending": found.pending,
            "active": found.active,
            "succeeded": found.succeeded,
            "failed": found.failed,
            "completed_indexes": found.completed_indexes or None,
            "failed_indexes": found.failed_indexes or None,
        }
    )


def _consumed(before: ResourcesConsumed, report: ProgressReport) -> ResourcesConsumed:
    return before.model_copy(
        update={
            "cpu_seconds": _highest(before.cpu_seconds, report.cpu_seconds),
            "gpu_seconds": _highest(before.gpu_seconds, report.gpu_seconds),
        }
    )


def _highest(before: int | None, now: int | None) -> int:
    return max(before or 0, now or 0)
