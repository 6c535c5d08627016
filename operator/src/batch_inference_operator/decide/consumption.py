"""What a job has used: the sum of what all of its drivers have told, each counting from zero.

The sum is kept in the status beside the part of drivers that are gone, so that the last driver's
part can grow from report to report. Nothing is counted twice: where it is not certain that another
driver reports, the larger number counts.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from batch_inference_operator.decide.bounds import as_count

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_api.v1alpha1.status import ResourcesConsumed


class _Driver(Enum):
    """Who reports, seen from the last report."""

    THE_SAME = auto()
    ANOTHER = auto()
    """One in another pod, or in the same one where it was started again."""
    UNKNOWN = auto()
    """Nobody has reported yet, or the CRD of an earlier release cuts off who did."""


def with_consumption(
    before: ResourcesConsumed, report: ProgressReport, *, pod_uid: str | None
) -> ResourcesConsumed:
    """What the job has used, as a pod's report has it; None: nobody knows whose report it is."""
    if pod_uid is None:
        return before
    cpu_seconds = as_count(report.cpu_seconds) or 0
    gpu_seconds = as_count(report.gpu_seconds)
    driver = _who_reports(before, cpu_seconds, pod_uid)
    earlier_cpu = _earlier(before.cpu_seconds, before.earlier_cpu_seconds, cpu_seconds, driver)
    earlier_gpu = _earlier(before.gpu_seconds, before.earlier_gpu_seconds, gpu_seconds or 0, driver)
    return before.model_copy(
        update={
            "cpu_seconds": _total(before.cpu_seconds, earlier_cpu, cpu_seconds),
            "gpu_seconds": before.gpu_seconds
            if gpu_seconds is None  # there is no GPU, and nothing to tell of
            else _total(before.gpu_seconds, earlier_gpu, gpu_seconds),
            "earlier_cpu_seconds": earlier_cpu,
            "earlier_gpu_seconds": earlier_gpu,
            "reported_by": pod_uid,
        }
    )


def _who_reports(before: ResourcesConsumed, cpu_seconds: int, pod_uid: str) -> _Driver:
    if before.reported_by is None:
        return _Driver.UNKNOWN
    told = (before.cpu_seconds or 0) - (before.earlier_cpu_seconds or 0)
    is_same = before.reported_by == pod_uid and cpu_seconds >= told
    return _Driver.THE_SAME if is_same else _Driver.ANOTHER


def _earlier(total: int | None, earlier: int | None, told: int, driver: _Driver) -> int | None:
    """What drivers before the one that reports have used; None: there were none."""
    match driver:
        case _Driver.THE_SAME:
            return earlier
        case _Driver.ANOTHER:
            return total
        case _Driver.UNKNOWN:
            return max(0, (total or 0) - told) or None


def _total(before: int | None, earlier: int | None, told: int) -> int | None:
    return as_count(max(before or 0, (earlier or 0) + told))
