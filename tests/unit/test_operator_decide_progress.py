"""A runner's report -> counters that never go back, whatever it says."""

from __future__ import annotations

import pytest

from batch_inference_api.runner_contract import (
    ModelReport,
    OutputReport,
    ProgressReport,
    RowCounts,
    RowFailure,
    RunPhase,
    ShardCounts,
    WorkerCounts,
)
from batch_inference_api.v1alpha1.status import MAX_COUNT, JobStatus
from batch_inference_operator.decide.progress import summarise, with_report
from testkit.observations import (
    NOW,
    instant,
    make_ended_pod,
    make_kept_pod,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    make_waiting_pod,
    named_run,
    observe,
    running_status,
    status_for,
)

BEGINNING = make_report(
    RunPhase.PLANNING,
    rows=RowCounts(),
    shards=ShardCounts(),
    percentage=None,
    rows_per_second=None,
    estimated_remaining_seconds=None,
)
"""What a driver says before it has planned, or read what an earlier one committed."""


def report_to(status: JobStatus, report: ProgressReport) -> JobStatus:
    return with_report(status, report, pod_uid="uid-of-pod-1-0", now=NOW)


def known() -> JobStatus:
    return report_to(JobStatus(), make_report())


def test_a_report_is_told_in_the_words_of_the_api():
    report = make_report(
        rows=RowCounts(
            total=20_000_000, processed=12_200_000, written=11_000_000, rejected=12, filtered=7
        ),
        shards=ShardCounts(
            total=20,
            pending=5,
            active=3,
            succeeded=11,
            failed=1,
            completed_indexes="0-10",
            failed_indexes="12",
        ),
        percentage=61,
        rows_per_second=48_210,
        estimated_remaining_seconds=162,
        cpu_seconds=912,
        gpu_seconds=228,
        model=ModelReport(
            resolved_digest="sha256:" + "a" * 64,
            execution_provider="CPUExecutionProvider",
            batch_size=2048,
        ),
        output=OutputReport(
            storage_uri="s3://lake/x/",
            manifest_uri="s3://lake/x/_SUCCESS",
            files=12,
            bytes=81_234_567,
        ),
    )

    status = report_to(JobStatus(), report)

    assert status.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "progress": {
            "percentage": 61,
            "rowsProcessed": 12_200_000,
            "rowsTotal": 20_000_000,
            "summary": "12.2M/20.0M (61%)",
            "rowsPerSecond": 48_210,
            "estimatedRemainingSeconds": 162,
            "lastUpdatedTime": instant(),
        },
        "completionStats": {
            "successfulCount": 11_000_000,
            "failedCount": 12,
            "filteredCount": 7,
            "incompleteCount": 8_999_981,
        },
        "shards": {
            "total": 20,
            "pending": 5,
            "active": 3,
            "succeeded": 11,
            "failed": 1,
            "completedIndexes": "0-10",
            "failedIndexes": "12",
        },
        "resourcesConsumed": {
            "cpuSeconds": 912,
            "gpuSeconds": 228,
            "reportedBy": "uid-of-pod-1-0",
        },
        "model": {
            "resolvedDigest": "sha256:" + "a" * 64,
            "executionProvider": "CPUExecutionProvider",
            "batchSize": 2048,
        },
        "output": {
            "storageUri": "s3://lake/x/",
            "manifestUri": "s3://lake/x/_SUCCESS",
            "files": 12,
            "bytes": 81_234_567,
        },
        "partialFailures": [],
        "conditions": [],
    }


def test_a_driver_that_resumes_with_lower_counts_takes_nothing_back():
    resumed = make_report(
        rows=RowCounts(total=1000, processed=400, written=400),
        shards=ShardCounts(total=10, pending=6, succeeded=4),
        percentage=40,
    )

    after = report_to(known(), resumed)

    assert after == known()


def test_a_job_without_gpus_tells_of_none():
    status = report_to(JobStatus(), make_report(cpu_seconds=5))

    assert status.resources_consumed.gpu_seconds is None


def test_a_driver_that_has_not_planned_yet_takes_nothing_back():
    after = report_to(known(), BEGINNING)

    assert after.progress.summary == "600/1.0k (60%)"
    assert after.completion_stats == known().completion_stats
    assert after.shards == known().shards


def test_shards_are_told_again_once_the_driver_has_read_what_is_committed():
    resumed = make_report(shards=ShardCounts(total=10, pending=4, active=1, succeeded=5))

    assert report_to(known(), resumed).shards.active == 1


SUMMARIES = {
    "nothing known but rows": ((0, None, None), "0"),
    "text formats do not say how many rows there are": ((950, None, 12), "950 (12%)"),
    "all known": ((12_299_999, 20_000_000, 61), "12.2M/20.0M (61%)"),
    "thousands": ((1000, 9999, 10), "1.0k/9.9k (10%)"),
    "the most there can be": ((MAX_COUNT, MAX_COUNT, 100), "9007.1T/9007.1T (100%)"),
    "no rows at all": ((0, 0, 100), "0/0 (100%)"),
    "billions and trillions": ((2_500_000_000, 1_000_000_000_000, 0), "2.5G/1.0T (0%)"),
}


@pytest.mark.parametrize(("numbers", "text"), SUMMARIES.values(), ids=SUMMARIES)
def test_a_summary_for_people(numbers, text):
    assert summarise(*numbers) == text


def test_what_is_not_known_is_left_out_and_not_called_zero():
    status = report_to(JobStatus(), BEGINNING)

    assert status.progress.summary == "0"
    assert status.progress.percentage is None
    assert status.progress.rows_total is None
    assert status.completion_stats.incomplete_count is None
    assert status.shards.total is None


def test_a_text_format_is_told_in_rows_and_in_shares_of_shards():
    report = make_report(rows=RowCounts(processed=950, written=900), percentage=12)

    status = report_to(JobStatus(), report)

    assert status.progress.summary == "950 (12%)"
    assert status.completion_stats.incomplete_count is None


def test_a_run_is_not_called_done_before_its_driver_says_so():
    """All rows are in flight, and the last shard is yet to be committed."""
    report = make_report(rows=RowCounts(total=1000, processed=1000, written=900), percentage=99)

    assert report_to(JobStatus(), report).progress.percentage == 99


RESTS = {
    "done": (make_ended_pod(0, make_success()), "1.0k/1.0k (100%)"),
    "waiting for a first pod to be replaced": (make_ended_pod(1), None),
    "waiting for a first pod to start": (make_waiting_pod(), None),
}


@pytest.mark.parametrize(("pod", "summary"), RESTS.values(), ids=RESTS)
def test_no_rate_is_told_of_a_job_that_scores_nothing(pod, summary):
    status = running_status()
    status["progress"] |= {"rowsPerSecond": 100, "estimatedRemainingSeconds": 9, "summary": "x"}

    after = status_for(make_record(status=status), observe(make_run(), pod))

    assert after.progress.rows_per_second is None
    assert after.progress.estimated_remaining_seconds is None
    assert after.progress.summary == (summary or "x")
    assert after.shards.active == 0
    assert after.shards.pending == (0 if summary else 5)


def test_the_last_rate_stays_while_a_first_pod_does_not_answer():
    status = running_status()
    status["progress"] |= {"rowsPerSecond": 100}

    after = status_for(make_record(status=status), observe(make_run(), make_pod()))

    assert after.progress.rows_per_second == 100
    assert after.phase == "Running"


PHASES = {
    RunPhase.STARTING: "Starting",
    RunPhase.PLANNING: "Starting",
    RunPhase.RUNNING: "Running",
    RunPhase.FINALIZING: "Finalizing",
    RunPhase.SUCCEEDED: "Finalizing",
    RunPhase.FAILED: "Starting",
    RunPhase.INTERRUPTED: "Starting",
}


@pytest.mark.parametrize(("phase", "told"), PHASES.items())
def test_the_phase_of_a_run_is_its_drivers(phase, told):
    report = make_report(phase)

    assert status_for(make_record(), observe(make_run(), make_pod(), report)).phase == told


@pytest.mark.parametrize("phase", [RunPhase.FAILED, RunPhase.INTERRUPTED])
def test_a_driver_that_has_ended_leaves_the_phase_until_its_pod_says_so(phase):
    report = make_report(phase, final=True)
    record = make_record(status=running_status(phase="Finalizing"))

    assert status_for(record, observe(make_run(), make_pod(), report)).phase == "Finalizing"


NOBODYS_PHASES = {
    "no pod yet": ((make_run(),), "Starting"),
    "a pod that starts": ((make_run(), make_waiting_pod()), "Starting"),
    "a pod that cannot start": (
        (make_run(), make_waiting_pod(unscheduled_message="no node")),
        "Pending",
    ),
    "a queue": ((make_run(suspended=True),), "Queued"),
    "a queue that preempted": ((make_run(suspended=True), make_ended_pod(143)), "Queued"),
}


@pytest.mark.parametrize(("parts", "phase"), NOBODYS_PHASES.values(), ids=NOBODYS_PHASES)
def test_the_phase_without_a_driver(parts, phase):
    assert status_for(make_record(status=running_status()), observe(*parts)).phase == phase


THREE = (make_pod(), make_pod(1), make_pod(2))
READY = {
    "as it says": (2, THREE, 2),
    "never more than wanted": (9, (*THREE, make_pod(3)), 3),
    "never less than none": (-1, THREE, 0),
    "none beside a sidecar that keeps the pod of a worker that has ended": (
        3, (make_pod(), make_pod(1), make_kept_pod(1, 99, index=2)), 2,
    ),
    "each once, though a pod has several scorers": (4, (make_pod(), make_pod(1)), 2),
    "none of an earlier run": (2, (make_pod(), make_pod(1, run=7)), 1),
    "none that is over": (2, (make_pod(), make_pod(1, phase="Failed")), 1),
}  # fmt: skip


@pytest.mark.parametrize(("said", "pods", "told"), READY.values(), ids=READY)
def test_workers_that_score(said, pods, told):
    record = make_record({"spec.workers.replicas": 3})
    report = make_report(workers=WorkerCounts(desired=1, ready=said))

    status = status_for(record, observe(make_run(), *pods, report))

    assert (status.workers.desired, status.workers.ready) == (3, told)


ATTEMPTS = {"it rises": (1, 2, 2), "it never falls": (3, 1, 3), "it is news": (None, 1, 1)}


@pytest.mark.parametrize(("before", "said", "told"), ATTEMPTS.values(), ids=ATTEMPTS)
def test_the_attempt_of_a_run(before, said, told):
    run = named_run() if before is None else named_run(attempt=before)
    report = make_report(attempt=said)

    status = status_for(
        make_record(status=running_status(run=run)), observe(make_run(), make_pod(), report)
    )

    assert status.run.attempt == told


def test_attempts_are_counted_anew_in_each_run():
    record = make_record(status=running_status())

    status = status_for(record, observe(make_run(2), make_pod(run=2)))

    assert (status.run.number, status.run.attempt) == (2, None)


HOSTILE = make_report(
    rows=RowCounts(total=-5, processed=10**30, written=-1, rejected=-(10**30), filtered=10**30),
    shards=ShardCounts(
        total=10**30, pending=-1, active=10**30, succeeded=10**30, failed=-7,
        completed_indexes="0-" + "9" * 2000, failed_indexes="\x1b[2J",
    ),
    percentage=10**30,
    rows_per_second=-1,
    estimated_remaining_seconds=10**30,
    cpu_seconds=-1,
    gpu_seconds=10**30,
    attempt=10**30,
    model=ModelReport(resolved_digest="d" * 5000, execution_provider="p" * 5000, batch_size=-1),
    output=OutputReport(
        storage_uri="s" * 5000, manifest_uri="\x00" * 5000, rejects_uri="\ud7ff" * 5000,
        files=10**30, bytes=-1,
    ),
    failures=[
        RowFailure(
            file="f" * 5000, row=-1, byte_offset=10**30, stage="s" * 99, error="e" * 999,
            message='"' * 9999,
        )
    ] * 20,
)  # fmt: skip


def test_whatever_a_report_says_the_status_is_one_that_the_api_takes():
    status = status_for(make_record(), observe(make_run(), make_pod(), HOSTILE))

    text = status.model_dump_json(by_alias=True, exclude_none=True)
    assert JobStatus.model_validate_json(text) == status
    assert len(text) < 32 * 1024
    assert status.progress.rows_processed == MAX_COUNT
    assert status.progress.percentage == 100
    assert status.shards.completed_indexes is None
    assert status.shards.failed_indexes is None


def test_an_honest_report_loses_none_of_its_samples():
    failure = RowFailure(
        file="s3://lake/customers/part-000001.parquet", row=7, stage="Bind", error="NullInput",
        message="column 'age' is null",
    )  # fmt: skip
    report = make_success(failures=(failure,) * 20)

    status = report_to(JobStatus(), report)

    assert len(status.partial_failures) == 20
    assert status.partial_failures[0].model_dump(exclude_none=True) == failure.model_dump(
        exclude_none=True
    )
