"""When a job last got on, as its status keeps it: deadlines and alerts are reckoned from there."""

from __future__ import annotations

import pytest

from batch_inference_api.runner_contract import ProgressReport, RowCounts
from batch_inference_api.v1alpha1.status import JobStatus
from batch_inference_operator.decide.progress import with_report
from testkit.observations import NOW, instant, make_record, make_report, running_status


def date_after(before: JobStatus, report: ProgressReport) -> str | None:
    status = with_report(before, report, pod_uid="uid-of-pod-1-0", now=NOW)
    assert status.progress is not None
    return status.progress.last_updated_time


def test_progress_is_dated_when_rows_were_last_scored():
    before = make_record(status=running_status()).status
    same = make_report(rows=RowCounts(total=1000, processed=500), idle_seconds=5)
    more = make_report(rows=RowCounts(total=1000, processed=501))

    assert date_after(before, same) == instant(5)
    assert date_after(before, more) == instant()


@pytest.mark.parametrize(
    ("idle", "dated"),
    [(0, instant()), (3, instant(3)), (4, instant(5)), (5, instant(5)), (60, instant(5))],
)
def test_progress_is_dated_when_rows_were_scored_again(idle, dated):
    before = make_record(status=running_status()).status
    again = make_report(rows=RowCounts(total=1000, processed=300), idle_seconds=idle)

    assert date_after(before, again) == dated


@pytest.mark.parametrize("idle", [-1, 10**300])
def test_no_pod_moves_time(idle):
    told = make_report(rows=RowCounts(total=1000, processed=300), idle_seconds=idle)
    before = make_record(status=running_status()).status

    assert date_after(before, told) in (instant(), instant(5))
