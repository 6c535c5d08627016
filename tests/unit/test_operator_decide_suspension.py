"""Suspending and resuming a job."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batch_inference_operator.build.job import fingerprint_of_pods
from batch_inference_operator.decide.plan import CreateRun, DeleteRun, Plan
from testkit.observations import (
    NOW,
    ago,
    condition,
    instant,
    make_ended_pod,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    observe,
    plan_for,
    running_status,
    status_for,
    stored,
    true_conditions,
    why,
)

SUSPENDED = {"spec.suspend": True}
GOING = {"deleted": ago(5), "grace_seconds": 10}


def suspended_record(**status):
    return make_record(SUSPENDED, status=running_status(**status))


def test_the_jobs_of_a_suspended_job_are_deleted_first():
    plan = plan_for(suspended_record(), observe(make_run(), make_pod(), make_report()))

    assert plan.actions == (DeleteRun(job_name="churn-run-1", job_uid="uid-of-run-1"),)
    assert why(plan.status) == (
        "Suspending",
        "waiting for the pods to end; what is committed stays",
    )
    assert condition(plan.status, "Suspended").status == "False"


def test_a_suspended_job_tells_of_pods_that_somebody_left_without_their_job():
    status = status_for(suspended_record(), observe(make_pod(1, owner_uid=None)))

    assert why(status)[1].endswith("no Job any more and do not end: churn-run-1-1")


def test_a_job_is_not_suspended_before_its_last_pod_is_gone():
    plan = plan_for(suspended_record(), observe(make_pod(**GOING)))

    assert plan.actions == ()
    assert true_conditions(plan.status) == {"Reconciling"}
    assert plan.look_again_seconds is not None


def test_a_pod_that_cannot_be_confirmed_dead_does_not_hold_suspension_back_for_ever():
    status = status_for(suspended_record(), observe(make_pod(deleted=ago(130), grace_seconds=10)))

    assert status.phase == "Suspended"


def test_a_suspended_job_says_so_and_keeps_its_progress():
    status = status_for(suspended_record(), observe(make_ended_pod(143)))

    assert true_conditions(status) == {"Suspended"}
    assert status.phase == "Suspended"
    assert status.start_time is None, "the active deadline begins anew after it"
    assert status.progress.rows_processed == 500
    assert status.progress.rows_per_second is None
    assert (status.shards.active, status.shards.pending) == (0, 5)
    assert status.workers.desired == 0


def test_a_job_that_was_created_suspended_gets_no_pods():
    plan = plan_for(make_record(SUSPENDED), observe())

    assert plan.actions == ()
    assert true_conditions(plan.status) == {"Suspended"}


def test_suspending_twice_changes_nothing():
    record = make_record(SUSPENDED)
    status = status_for(record, observe())

    assert plan_for(stored(record, status), observe()) == Plan(status=status, is_urgent=True)


def test_a_job_resumes_with_the_next_run_and_all_of_its_deadline():
    status = status_for(suspended_record(startTime=instant(500)), observe())
    resumed = stored(make_record({"spec.activeDeadlineSeconds": 600}), status)

    assert plan_for(resumed, observe()).actions == (CreateRun(number=2, deadline_seconds=600),)


def test_so_does_one_that_is_resumed_before_its_pods_are_gone():
    limited = {"spec.activeDeadlineSeconds": 600}
    begun = make_record(SUSPENDED | limited, status=running_status(startTime=instant(590)))
    suspending = status_for(begun, observe(make_run(), make_pod()))

    resumed = stored(make_record(limited), suspending)

    assert plan_for(resumed, observe(), now=NOW + timedelta(seconds=12)).actions == (
        CreateRun(number=2, deadline_seconds=600),
    )


def test_a_job_that_is_resumed_while_it_is_being_suspended_waits_for_its_pods():
    record = make_record(status=running_status())

    plan = plan_for(record, observe(make_run(being_deleted=True), make_pod(**GOING)))

    assert plan.actions == ()
    assert why(plan.status)[0] == "WaitingForPods"


def test_a_run_that_has_succeeded_is_not_suspended_any_more():
    plan = plan_for(suspended_record(), observe(make_run(), make_ended_pod(0, make_success())))

    assert "Complete" in true_conditions(plan.status)


def test_a_finished_job_is_not_suspended():
    status = status_for(make_record(), observe(make_run(), make_ended_pod(0, make_success())))
    record = stored(make_record(SUSPENDED), status)

    assert plan_for(record, observe(make_run())).status is None


def test_the_rows_that_a_run_scored_until_it_was_suspended_resume_where_they_were():
    """The first run of the resumed job plans anew, and no counter goes back meanwhile."""
    status = status_for(suspended_record(), observe())
    resumed = stored(make_record(), status)

    after = status_for(resumed, observe(make_run(2), make_pod(run=2)))

    assert after.progress.rows_processed == 500
    assert after.run.number == 2


def test_a_run_that_the_status_does_not_know_is_named_before_it_is_deleted():
    record = make_record({"spec.suspend": True})

    named = plan_for(record, observe(make_run(), make_pod()))
    deleted = plan_for(stored(record, named.status), observe(make_run(), make_pod()))

    assert named.actions == ()
    assert named.status.run.number == 1
    assert deleted.actions == (DeleteRun(job_name="churn-run-1", job_uid="uid-of-run-1"),)


def made_for(changes):
    """A run whose pods were made from such a spec."""
    return make_run(applied_pods=fingerprint_of_pods(make_record(changes).spec.workers))


EDITED = {"metadata.generation": 2}
MEMORY = {"spec.workers.resources": {"requests": {"memory": "1Gi"}}}
MORE_MEMORY = {"spec.workers.resources": {"requests": {"memory": "2Gi"}}}


def test_a_job_that_was_suspended_changed_and_resumed_unseen_gets_other_pods():
    record = make_record(MORE_MEMORY | EDITED, status=running_status())
    run = made_for(MEMORY)

    plan = plan_for(record, observe(run, make_pod()))

    assert plan.actions == (DeleteRun(job_name=run.name, job_uid=run.uid),)


SAME_PODS = {
    "nothing was changed": made_for(MEMORY),
    "more workers are wanted": made_for({**MEMORY, "spec.workers.replicas": 1}),
    "defaults are written out": made_for({**MEMORY, "spec.workers.env": []}),
    "an earlier release made them": make_run(applied_pods=None),
}


@pytest.mark.parametrize("run", SAME_PODS.values(), ids=SAME_PODS)
def test_a_run_keeps_its_pods_where(run):
    record = make_record(MEMORY | EDITED, status=running_status())

    assert plan_for(record, observe(run, make_pod())).actions == ()


def test_a_run_keeps_its_pods_where_an_older_crd_has_cut_off_what_they_were_made_from():
    record = make_record(status=running_status())

    assert plan_for(record, observe(made_for(MEMORY), make_pod())).actions == ()
