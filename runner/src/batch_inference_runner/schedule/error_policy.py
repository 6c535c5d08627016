"""Whether the job may go on with so many rejected rows, and what too many failures say. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.schedule.backlog import Loss

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import ErrorPolicyConfig

RATE_IS_JUDGED_AFTER_ROWS = 10_000
_ADVICE = (
    "`failures` in the report (`--output-format json`) says of some which and why. Correct the "
    "input and start anew with another output, or raise the limit and run the same job again: it "
    "resumes"
)


def check_rejects(
    policy: ErrorPolicyConfig, *, rows_read: int, rows_rejected: int, final: bool
) -> None:
    """Refuse to go on when more rows were rejected than the job allows.

    Raises:
        JobFailed: ERROR_THRESHOLD_EXCEEDED.
    """
    if 0 <= policy.error_threshold < rows_rejected:
        raise JobFailed(
            Reason.ERROR_THRESHOLD_EXCEEDED,
            f"rejected rows: {rows_rejected}, spec.errorPolicy.errorThreshold allows "
            f"{policy.error_threshold}; {_ADVICE}",
        )
    if policy.max_error_rate is None or rows_read == 0:
        return
    judged = final or rows_read >= RATE_IS_JUDGED_AFTER_ROWS
    if judged and Decimal(rows_rejected) > Decimal(policy.max_error_rate) * rows_read:
        raise JobFailed(
            Reason.ERROR_THRESHOLD_EXCEEDED,
            f"rejected rows: {rows_rejected} of {rows_read}, spec.errorPolicy.maxErrorRate "
            f"allows a share of {policy.max_error_rate}; {_ADVICE}",
        )


def too_many_failed(
    failed: int, allowed: int, *, shard: int, attempts: int, loss: Loss, why: str
) -> JobFailed:
    """Make the failure of a job of which `failed` shards, `shard` the last one, failed for good.

    `loss` is what befell that shard in its last attempt, and `why` says so to people.
    """
    reason, advice = Reason.MAX_FAILED_SHARDS_EXCEEDED, "raise a limit"
    if loss is Loss.OUT_OF_MEMORY:
        reason = Reason.OUT_OF_MEMORY
        advice = "raise spec.workers.resources.limits.memory, or lower spec.batching.batchSize,"
    return JobFailed(
        reason,
        f"failed shards: {failed}, spec.maxFailedShards allows {allowed}. Shard {shard} failed at "
        f"attempt {attempts}, the last that spec.backoffLimitPerShard allows: {why}. What is "
        f"committed stays: {advice} and run the same job again to resume",
    )
