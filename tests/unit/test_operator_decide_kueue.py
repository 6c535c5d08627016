"""Jobs that a queue admits, and the number of workers that two want to set."""

from __future__ import annotations

import pytest

from batch_inference_operator.decide.plan import ScaleRun
from testkit.observations import (
    ago,
    condition,
    instant,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_waiting_pod,
    observe,
    plan_for,
    running_status,
    status_for,
    stored,
    true_conditions,
    why,
)

HELD = make_run(suspended=True, started=None)
FOUR = {"spec.workers.replicas": 4}


def test_a_job_that_its_queue_holds_back_is_queued():
    queued = {"metadata.labels": {"kueue.x-k8s.io/queue-name": "nightly"}}
    plan = plan_for(make_record(queued, status=running_status()), observe(HELD))

    assert plan.actions == ()
    assert plan.status.phase == "Queued"
    assert true_conditions(plan.status) == {"Reconciling"}
    assert condition(plan.status, "Suspended").status == "False", "spec.suspend is not set"
    assert why(plan.status) == ("Queued", "the job waits in its queue to be admitted")


def test_a_job_without_a_queue_says_that_somebody_holds_it_back():
    (reason, message) = why(status_for(make_record(), observe(HELD)))

    assert reason == "Queued"
    assert "no queue label says why" in message


def test_a_queued_job_has_not_begun():
    status = status_for(make_record(), observe(HELD))

    assert status.start_time is None
    assert status.duration is None


def test_an_admitted_job_began_when_it_was_admitted():
    record = stored(make_record(), status_for(make_record(), observe(HELD)))
    admitted = make_run(created=ago(9000), started=ago(10))

    status = status_for(record, observe(admitted, make_waiting_pod()))

    assert status.start_time == instant(10)
    assert status.phase == "Starting"


def test_a_preempted_job_is_queued_again_and_keeps_its_run():
    record = make_record(status=running_status())

    status = status_for(record, observe(HELD))

    assert (status.phase, status.run.number) == ("Queued", 1)
    assert status.progress.rows_processed == 500


def test_a_preempted_job_that_is_admitted_again_has_all_of_its_time():
    """Neither the Job controller nor a driver counts the time in the queue."""
    began = running_status(startTime=instant(3 * 3600))
    record = make_record({"spec.activeDeadlineSeconds": 3600}, status=began)
    record = stored(record, status_for(record, observe(HELD)))
    assert record.status.start_time is None

    status = status_for(record, observe(make_run(started=ago(10)), make_waiting_pod()))

    assert (status.phase, status.start_time) == ("Starting", instant(10))


def test_a_queued_job_is_not_looked_at_by_the_clock():
    """Its admission is an event; a thousand queued jobs cost nothing meanwhile."""
    record = make_record({"spec.preRunningDeadlineSeconds": 1}, status=running_status())

    assert plan_for(record, observe(HELD)).look_again_seconds is None


SCALES = {
    "more workers": (FOUR, 1, 1, 4),
    "fewer workers": ({"spec.workers.replicas": 2}, 3, 3, 2),
    "a Job that does not say what was applied": ({"spec.workers.replicas": 1}, None, 1, 1),
}


@pytest.mark.parametrize(("changes", "applied", "found", "wanted"), SCALES.values(), ids=SCALES)
def test_a_run_is_scaled_for(changes, applied, found, wanted):
    run = make_run(applied_workers=applied, parallelism=found)

    plan = plan_for(make_record(changes, status=running_status()), observe(run, make_pod()))

    assert plan.actions == (ScaleRun(job_name=run.name, job_uid=run.uid, workers=wanted),)


def test_a_run_is_not_scaled_to_a_number_that_an_older_crd_has_cut_off():
    run = make_run(applied_workers=3, parallelism=3)

    assert plan_for(make_record(status=running_status()), observe(run, make_pod())).actions == ()


def test_what_a_queue_made_of_the_number_of_workers_is_left_alone():
    """Kueue admitted 2 of 4. Setting 4 again would have it admit 2 again, for ever."""
    run = make_run(applied_workers=4, parallelism=2)

    plan = plan_for(make_record(FOUR, status=running_status()), observe(run, make_pod()))

    assert plan.actions == ()


def test_a_queued_run_may_be_scaled():
    plan = plan_for(make_record(FOUR, status=running_status()), observe(HELD))

    assert [type(action) for action in plan.actions] == [ScaleRun]


@pytest.mark.parametrize(
    ("manager", "is_ours"),
    [("batchinference.dev/operator", True), ("kueue.x-k8s.io/multikueue", False)],
)
def test_a_job_that_another_controller_manages_is_left_alone(manager, is_ours):
    record = make_record({"spec.managedBy": manager})

    plan = plan_for(record, observe(make_run(), make_pod(), make_report()))

    assert (plan.status is not None) == is_ours
    assert bool(plan.actions) == is_ours


@pytest.mark.parametrize(
    "changes",
    [{"spec.suspend": True}, {"metadata.deletionTimestamp": "2026-08-01T11:59:00Z"}, {}],
    ids=["suspended", "being deleted", "new"],
)
def test_a_job_that_another_controller_manages_is_left_alone_whatever_it_is(changes):
    record = make_record(changes | {"spec.managedBy": "example.com/other"})

    plan = plan_for(record, observe(make_run()))

    assert (plan.actions, plan.status, plan.announcements) == ((), None, ())
