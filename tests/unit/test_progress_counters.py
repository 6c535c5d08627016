"""Counters of a run: what they add up to, and that they never go back."""

from __future__ import annotations

import resource
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_inference_api.runner_contract import JobIdentity, ModelReport, OutputReport, RunPhase
from batch_inference_runner.progress.counters import CommittedCounts, Progress
from batch_inference_runner.progress.metrics import render
from batch_inference_runner.progress.report import MAX_REPORT_BYTES, to_json

JOB = JobIdentity(name="churn")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def running(*, shards: int = 4, rows: int | None = 400, clock: Clock | None = None) -> Progress:
    progress = Progress(JOB, clock=clock or Clock())
    progress.phase(RunPhase.PLANNING)
    progress.planned(shards=shards, rows=rows)
    progress.phase(RunPhase.RUNNING)
    return progress


def commit(progress: Progress, shard: int, rows: int = 100) -> None:
    progress.committed(shard, written=rows, rejected=0, filtered=0)


def test_rows_in_flight_are_processed_but_not_written() -> None:
    progress = running()
    progress.started(0)
    progress.advanced(0, 30)
    progress.advanced(0, 60)
    report = progress.report()
    assert (report.rows.processed, report.rows.written) == (60, 0)
    assert (report.percentage, report.shards.active, report.shards.pending) == (15, 1, 3)


def test_a_lost_shard_takes_nothing_back() -> None:
    progress = running()
    progress.advanced(0, 80)
    progress.lost(0)
    progress.advanced(0, 10)
    report = progress.report()
    assert (report.rows.processed, report.percentage) == (80, 20)
    progress.lost(0)
    assert progress.report().shards.pending == 4


def test_rows_of_a_committed_shard_count_once() -> None:
    progress = running()
    progress.advanced(0, 100)
    progress.committed(0, written=90, rejected=7, filtered=3)
    progress.committed(0, written=90, rejected=7, filtered=3)
    progress.advanced(0, 55)
    rows = progress.report().rows
    assert (rows.processed, rows.written, rows.rejected, rows.filtered) == (100, 90, 7, 3)


def test_only_success_is_a_hundred_percent() -> None:
    progress = running(shards=1, rows=100)
    commit(progress, 0)
    assert progress.report().percentage == 99
    assert progress.finish(RunPhase.SUCCEEDED).percentage == 100


def test_a_dataset_of_unknown_length_is_measured_in_shards() -> None:
    clock = Clock()
    progress = running(rows=None, clock=clock)
    assert progress.report().percentage == 0
    clock.now += 2
    commit(progress, 0)
    report = progress.report()
    assert (report.percentage, report.estimated_remaining_seconds) == (25, 6)


def test_nothing_is_claimed_before_there_is_a_plan() -> None:
    report = Progress(JOB, clock=Clock()).report()
    assert (report.percentage, report.rows_per_second, report.phase) == (None, None, "Starting")


def test_the_rate_ignores_what_was_resumed_and_how_long_planning_took() -> None:
    clock = Clock()
    progress = Progress(JOB, clock=clock)
    progress.phase(RunPhase.PLANNING)
    clock.now += 50
    progress.planned(shards=4, rows=400)
    progress.phase(RunPhase.RUNNING)
    progress.resumed([CommittedCounts(0, written=100), CommittedCounts(1, written=100)])
    clock.now += 2
    progress.advanced(2, 50)
    report = progress.report()
    assert (report.rows_per_second, report.estimated_remaining_seconds) == (25, 6)
    assert progress.finish(RunPhase.INTERRUPTED).rows_per_second == 25


def test_a_stalled_run_shows_that_it_stalls() -> None:
    clock = Clock()
    progress = running(clock=clock)
    clock.now += 1
    progress.advanced(0, 100)
    assert progress.report().rows_per_second == 100
    for _ in range(100):
        clock.now += 1
        report = progress.report()
    assert (report.rows_per_second, report.estimated_remaining_seconds) == (0, None)


def test_rows_that_are_scored_again_count_for_the_rate_but_not_twice() -> None:
    clock = Clock()
    progress = running(clock=clock)
    clock.now += 10
    progress.advanced(0, 80)
    progress.lost(0)
    clock.now += 40
    for _ in range(4):
        clock.now += 10
        progress.advanced(0, progress._in_flight.get(0, 0) + 10)

    report = progress.report()
    assert (report.rows.processed, report.rows_per_second, report.idle_seconds) == (80, 1, 0)
    assert report.estimated_remaining_seconds == report.rows.total - 40


def test_a_driver_that_replaces_another_counts_its_own_rows_for_the_rate() -> None:
    clock = Clock()
    progress = Progress(JOB, processed=500, clock=clock)
    progress.planned(shards=10, rows=1000)
    progress.phase(RunPhase.RUNNING)
    progress.resumed([CommittedCounts(0, written=100)])
    assert progress.report().idle_seconds is None
    clock.now += 10
    progress.advanced(1, 50)
    clock.now += 10

    report = progress.report()
    assert (report.rows.processed, report.rows_per_second, report.idle_seconds) == (500, 2, 10)
    assert report.estimated_remaining_seconds == (1000 - 150) / 2.5


def test_no_rate_is_told_in_the_first_instant() -> None:
    clock = Clock()
    progress = running(clock=clock)
    clock.now += 0.01
    progress.advanced(0, 100)
    assert progress.report().rows_per_second is None


def test_a_shard_that_failed_for_good_may_still_turn_out_to_be_committed() -> None:
    progress = running()
    progress.failed(3)
    assert progress.report().shards.failed_indexes == "3"
    commit(progress, 3)
    shards = progress.report().shards
    assert (shards.failed, shards.succeeded, shards.failed_indexes) == (0, 1, "")
    progress.failed(3)
    assert progress.report().shards.failed == 0


def test_at_most_twenty_samples_are_kept_and_only_in_the_final_report() -> None:
    progress = running()
    sample = {
        "file": "s3://u:hunter22@b/f",
        "row": 1,
        "stage": "Bind",
        "error": "E",
        "message": "m",
    }
    progress.committed(0, written=0, rejected=50, filtered=0, samples=[sample] * 50)
    assert progress.report().failures == ()
    failures = progress.finish(RunPhase.SUCCEEDED).failures
    assert len(failures) == 20
    assert failures[0].file == "s3://***@b/f"


def test_a_rare_kind_of_failure_is_among_the_samples() -> None:
    progress = running()
    common = {"file": "f", "stage": "Bind", "error": "NullInput", "message": "column 'a' is null"}
    rare = {**common, "error": "Overflow", "message": "overflow"}
    for shard in range(2):
        progress.committed(shard, written=0, rejected=20, filtered=0, samples=[common] * 20)
    progress.committed(2, written=0, rejected=3, filtered=0, samples=[common, common, rare])
    failures = progress.finish(RunPhase.SUCCEEDED).failures
    assert [failure.error for failure in failures] == ["NullInput"] * 19 + ["Overflow"]


def test_a_sample_that_cannot_be_read_does_not_fail_the_run() -> None:
    progress = running()
    strange = [{"colour": "red"}, "x", {"stage": "Bind", "error": "E", "message": ["m"]}]
    progress.committed(0, written=0, rejected=3, filtered=0, samples=strange)
    assert progress.report().failures == ()
    sample = {"file": "f", "stage": "Bind", "error": "E", "message": "m"}
    progress.committed(1, written=0, rejected=20, filtered=0, samples=[sample] * 20)
    progress.committed(2, written=0, rejected=3, filtered=0, samples=strange)
    assert len(progress.finish(RunPhase.SUCCEEDED).failures) == 20


def test_scorers_and_ended_children_are_not_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    used = SimpleNamespace(ru_utime=40.0, ru_stime=2.0)
    monkeypatch.setattr(resource, "getrusage", lambda _who: used)
    progress = running()
    assert progress.report().cpu_seconds == 84
    progress.usage("a", cpu_seconds=5000)
    progress.usage("a", cpu_seconds=6000)
    progress.usage("b", cpu_seconds=4000)
    assert progress.report().cpu_seconds == 42 + 10_000


def test_gpu_time_is_that_of_all_scorers_and_not_told_where_there_is_none() -> None:
    progress = running()
    progress.usage("a", cpu_seconds=1)
    assert progress.report().gpu_seconds is None
    assert "bij_gpu_seconds_total" not in render(progress.report())
    progress.usage("a", cpu_seconds=1, gpu_seconds=30.0)
    progress.usage("b", cpu_seconds=1, gpu_seconds=0.0)
    progress.usage("a", cpu_seconds=1, gpu_seconds=60.0)
    assert progress.report().gpu_seconds == 60
    assert "\nbij_gpu_seconds_total 60\n" in render(progress.report())


def test_silence_is_measured_from_the_last_sign_of_life() -> None:
    clock = Clock()
    progress = running(clock=clock)
    clock.now += 200
    assert progress.seconds_since_beat() == 200
    progress.beat()
    assert progress.seconds_since_beat() == 0


def test_the_largest_final_report_fits_a_termination_message() -> None:
    progress = Progress(JobIdentity(name="n" * 63, namespace="s" * 63, uid="u" * 36))
    progress.planned(shards=1000, rows=10**12)
    for shard in range(0, 1000, 3):
        commit(progress, shard)
        progress.failed(shard + 1) if shard < 600 else None
    sample = {"file": "ä" * 400, "row": 1, "stage": "Bind", "error": "E" * 40, "message": "ü" * 400}
    progress.committed(999, written=0, rejected=9, filtered=0, samples=[sample] * 20)
    progress.model(
        ModelReport(resolved_digest="sha256:" + "0" * 64, execution_provider="CPU", batch_size=1)
    )
    progress.output(OutputReport(storage_uri="s3://" + "b" * 900, rejects_uri="s3://" + "c" * 900))
    report = progress.finish(RunPhase.FAILED, reason="RowRejected", message='"é' * 5000)
    assert len(to_json(report)) <= MAX_REPORT_BYTES
    assert (report.reason, report.final, report.rows.total) == ("RowRejected", True, 10**12)
    assert progress.report() is report


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["started", "advanced", "lost", "failed", "committed"]),
        st.integers(0, 3),
        st.integers(0, 100),
    ),
    max_size=60,
)


@given(_ACTIONS)
def test_whatever_happens_counters_never_go_back_and_shards_add_up(
    actions: list[tuple[str, int, int]],
) -> None:
    progress = running()
    processed = percentage = 0
    for action, shard, rows in actions:
        match action:
            case "advanced":
                progress.advanced(shard, rows)
            case "committed":
                commit(progress, shard)
            case _:
                getattr(progress, action)(shard)
        report = progress.report()
        shards = report.shards
        assert shards.pending + shards.active + shards.succeeded + shards.failed == shards.total
        assert report.rows.processed >= max(processed, report.rows.written)
        assert (report.percentage or 0) >= percentage
        processed, percentage = report.rows.processed, report.percentage or 0
    assert processed <= 400


@pytest.mark.parametrize("phase", [RunPhase.PLANNING, RunPhase.FINALIZING])
def test_no_time_left_is_told_outside_of_scoring(phase: RunPhase) -> None:
    clock = Clock()
    progress = running(clock=clock)
    clock.now += 5
    progress.advanced(0, 50)
    progress.phase(phase)
    assert progress.report().estimated_remaining_seconds is None


def test_the_final_rate_leaves_out_the_time_that_publishing_took() -> None:
    clock = Clock()
    progress = running(clock=clock)
    clock.now += 2
    commit(progress, 0)
    progress.phase(RunPhase.FINALIZING)
    clock.now += 50
    assert progress.finish(RunPhase.SUCCEEDED).rows_per_second == 50


def test_a_shard_that_was_given_up_stays_failed_and_its_rows_count() -> None:
    progress = Progress(JobIdentity(name="job"))
    progress.planned(shards=2, rows=20)
    progress.failed(1)
    progress.committed(1, written=0, rejected=10, filtered=0, given_up=True)
    report = progress.report()
    assert (report.shards.failed, report.shards.succeeded) == (1, 0)
    assert report.rows.rejected == 10


def test_a_driver_that_was_started_again_is_catching_up_until_it_has_read_what_is_committed():
    progress = Progress(JOB, attempt=3, processed=250, clock=Clock())
    progress.planned(shards=4, rows=400)
    assert progress.is_catching_up
    progress.resumed([CommittedCounts(0, written=100), CommittedCounts(1, written=100)])
    report = progress.report()
    assert not progress.is_catching_up
    assert (report.rows.processed, report.rows.written) == (250, 200)
    assert progress.milestones() == (3, 2, 250)


def test_a_driver_that_fails_while_it_catches_up_says_so() -> None:
    progress = Progress(JOB, attempt=3, processed=250, clock=Clock())
    progress.finish(RunPhase.FAILED)
    assert not progress.is_catching_up


def test_the_attempt_never_goes_back() -> None:
    progress = Progress(JOB, attempt=3, clock=Clock())
    progress.attempt(2)
    assert progress.report().attempt == 3
    progress.attempt(5)
    assert progress.report().attempt == 5


def test_a_run_lasts_from_the_begin_of_its_first_driver() -> None:
    clock = Clock()
    progress = Progress(JOB, began=clock.now - 60, clock=clock)
    clock.now += 5
    assert progress.report().elapsed_seconds == 65
    assert progress.seconds_since_beat() == 5
