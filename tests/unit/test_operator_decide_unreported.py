"""Runs that end without a report: counted, followed by the next, and given up after a few."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RowCounts, ShardCounts
from batch_inference_operator.decide.plan import CreateRun, DeleteRun
from batch_inference_operator.observation import JobEnd, Termination
from testkit.observations import (
    NOW,
    ago,
    failure,
    make_ended_pod,
    make_ended_run,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    named_run,
    observe,
    plan_for,
    running_status,
    status_for,
    stored,
    true_conditions,
    why,
)

SECOND = CreateRun(number=2, deadline_seconds=None)
COMPLETE = make_ended_run(JobEnd.COMPLETE)


def test_a_run_without_a_report_is_counted_before_it_is_cleared_away():
    record = make_record(status=running_status())

    plan = plan_for(record, observe(COMPLETE))

    assert plan.actions == ()
    assert why(plan.status) == (
        Reason.REPORT_MISSING,
        "run 1 ended without a report; the next run begins",
    )
    assert plan.status.run.unreported == 1
    assert plan.is_urgent

    plan = plan_for(stored(record, plan.status), observe(COMPLETE))

    assert plan.actions == (DeleteRun(job_name="churn-run-1", job_uid="uid-of-run-1"),)
    assert plan.status is None, "it is counted once, however often it is seen"


def test_runs_that_end_by_a_limit_below_the_spec_s_come_to_an_end():
    """As where a policy of the cluster lowers the `backoffLimit` of every Job."""
    record = make_record({"spec.backoffLimit": 9})

    for number in range(1, 5):
        run = make_ended_run(JobEnd.FAILED, "BackoffLimitExceeded", number, backoff_limit=2)
        record = stored(record, status_for(record, observe(run)))

    assert failure(record.status)[0] == Reason.BACKOFF_LIMIT_EXCEEDED


@pytest.mark.parametrize("suspend", [False, True])
def test_runs_without_a_report_stay_counted_if_the_next_goes_before_it_was_named(suspend):
    record = make_record(
        {"spec.suspend": suspend}, status=running_status(run=named_run(3, unreported=3))
    )
    going = make_run(4, being_deleted=True)

    status = status_for(record, observe(going, make_pod(run=4)))

    assert (status.run.number, status.run.unreported) == (4, 3)


def play_unreported_runs(record, count):
    """Let runs end without a report, one after another."""
    for _ in range(count):
        (create,) = plan_for(record, observe()).actions
        run = make_ended_run(JobEnd.COMPLETE, number=create.number)
        record = stored(record, status_for(record, observe(run)))
    return record


def test_after_three_runs_without_a_report_a_fourth_is_tried_and_no_fifth():
    record = play_unreported_runs(make_record(), 3)
    assert not record.is_finished

    record = play_unreported_runs(record, 1)

    assert failure(record.status) == (Reason.REPORT_MISSING, "run 4 ended without a report")


SKEW = "runner contract version 2 is not supported: use an operator and a runner of one release"
LEFT = Termination(exit_code=0, message=SKEW, is_skewed=True, finished=ago(99))
SKEWED = {
    "that is over": (COMPLETE, make_pod(termination=LEFT, phase="Succeeded", running_since=None)),
    "that a sidecar keeps": (make_run(), make_pod(termination=LEFT, running_since=None)),
}


@pytest.mark.parametrize("parts", SKEWED.values(), ids=SKEWED)
def test_a_report_of_another_release_in_a_pod(parts):
    """The next run may be understood: an operator that was updated uses another image."""
    plan = plan_for(make_record(status=running_status()), observe(*parts))

    reason, message = why(plan.status)
    assert reason == Reason.VERSION_SKEW
    assert message.startswith(
        "run 1 ended without a report that this operator can read; pod churn-run-1-0 ended with "
        f"exit code 0: {SKEW}; "
    )
    assert message.endswith("; the next run begins")


def test_runs_of_another_release_come_to_an_end_that_says_so():
    record = make_record(status=running_status(run=named_run(unreported=3)))

    status = status_for(record, observe(*SKEWED["that is over"]))

    assert failure(status)[0] == Reason.VERSION_SKEW


def test_a_run_that_is_given_up_keeps_its_pods_for_whoever_looks():
    record = make_record(status={"run": named_run(4, unreported=3)})

    plan = plan_for(record, observe(make_ended_run(JobEnd.COMPLETE, number=4)))

    assert true_conditions(plan.status) == {"Failed", "Stalled"}
    assert plan.actions == ()


def test_runs_without_a_report_are_counted_anew_once_a_shard_is_committed():
    record = make_record(status=running_status(run=named_run(4, unreported=3)))
    report = make_report(
        run_number=4,
        rows=RowCounts(total=1000, processed=700, written=600),
        shards=ShardCounts(total=10, pending=4, succeeded=6),
    )

    status = status_for(record, observe(make_run(4), make_pod(run=4), report))

    assert status.run.unreported is None


@pytest.mark.parametrize(
    "report",
    [make_report(), make_report(shards=ShardCounts(total=10, pending=10))],
    ids=["rows in flight only", "a driver that has not read yet what is committed"],
)
def test_runs_without_a_report_stay_counted_while_nothing_more_is_committed(report):
    record = make_record(status=running_status(run=named_run(4, unreported=3)))

    status = status_for(record, observe(make_run(4), make_pod(run=4), report))

    assert status.run.unreported == 3


def test_a_run_that_ended_before_it_was_named_is_counted_too():
    record = make_record()

    record = stored(record, status_for(record, observe(COMPLETE)))

    assert (record.status.run.number, record.status.run.unreported) == (1, 1)
    assert plan_for(record, observe()).actions == (SECOND,)


def test_a_run_may_have_succeeded_before_its_job_was_deleted():
    """Index 0 is gone with its Job, so nobody can tell: the next run finds the result."""
    head = make_ended_pod(0, make_success())

    plan = plan_for(
        make_record(status={"run": named_run(1)}), observe(make_run(being_deleted=True), head)
    )

    assert plan.actions == (SECOND,)


def test_a_job_that_is_being_deleted_is_left_alone():
    record = make_record({"metadata.deletionTimestamp": "2026-08-01T11:59:00Z"})

    plan = plan_for(record, observe(make_run(), make_ended_pod(0, make_success())))

    assert (plan.actions, plan.status) == ((), None)


def test_a_lost_pod_is_fenced_at_the_same_moment_for_the_run_and_for_the_next():
    """Were the two apart, a run could be deleted that the next would then wait for, or overlap."""
    head = make_pod(deleted=ago(0), grace_seconds=10)
    record = make_record(status=running_status())
    fenced = NOW + timedelta(seconds=130)
    before = fenced - timedelta(seconds=1)

    deletes = [
        bool(plan_for(record, observe(make_run(), head), now=now).actions)
        for now in (before, fenced)
    ]
    creates = [bool(plan_for(record, observe(head), now=now).actions) for now in (before, fenced)]

    assert deletes == creates == [False, True]
