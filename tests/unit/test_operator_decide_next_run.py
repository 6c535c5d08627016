"""When the next run begins, under which number, and when a job is given up."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.plan import CreateCompanions, CreateRun, DeleteRun
from batch_inference_operator.observation import Refusal
from testkit.observations import (
    ago,
    failure,
    instant,
    make_ended_pod,
    make_kept_pod,
    make_pod,
    make_record,
    make_run,
    make_success,
    make_waiting_pod,
    make_warning,
    named_run,
    observe,
    plan_for,
    running_status,
    status_for,
    stored,
    true_conditions,
    why,
)

FIRST = CreateRun(number=1, deadline_seconds=None)
SECOND = CreateRun(number=2, deadline_seconds=None)


def named(number: int, **changes):
    """A status that knows a run."""
    return {"run": named_run(number, **changes)}


def test_a_new_job_gets_its_first_run():
    plan = plan_for(make_record(), observe())

    assert plan.actions == (FIRST,)
    assert plan.status is None, "the status names a run when it is there"


def test_a_run_that_is_there_gets_what_its_pods_need_and_is_named():
    plan = plan_for(make_record(), observe(make_run()))

    assert plan.actions == (
        CreateCompanions(
            number=1, job_name="churn-run-1", job_uid="uid-of-run-1", deadline_seconds=None
        ),
    )
    assert (plan.status.run.number, plan.status.run.job_name) == (1, "churn-run-1")


def test_a_run_that_is_named_has_what_its_pods_need():
    assert plan_for(make_record(status=named(1)), observe(make_run())).actions == ()


def test_a_run_is_not_named_while_what_its_pods_need_is_refused():
    """Otherwise nobody would try to create it again."""
    refusal = Refusal(reason=Reason.QUOTA_EXCEEDED, message="exceeded quota: secrets")

    status = status_for(make_record(), observe(make_run(), refusal))

    assert status.run is None
    assert why(status) == (Reason.QUOTA_EXCEEDED, "exceeded quota: secrets")
    (again,) = plan_for(stored(make_record(), status), observe(make_run())).actions
    assert isinstance(again, CreateCompanions)


def test_a_job_of_the_same_name_needs_its_own():
    """Whoever deleted the Job took with it what its pods needed."""
    plan = plan_for(make_record(status=named(1)), observe(make_run(uid="another")))

    (again,) = plan.actions
    assert isinstance(again, CreateCompanions)
    assert again.job_uid == "another"
    assert plan.status.run.job_uid == "another"


OWN_SECRET = 'MountVolume.SetUp failed for volume "bij-run" : secret "churn-run-1" not found'


def test_what_went_while_pods_need_it_is_created_again():
    warning = make_warning("FailedMount", OWN_SECRET, seconds_ago=120)

    plan = plan_for(make_record(status=named(1)), observe(make_run(), make_waiting_pod(), warning))

    assert [type(action) for action in plan.actions] == [CreateCompanions]
    assert why(plan.status) == (
        Reason.SECRET_NOT_FOUND,
        'secret "churn-run-1" not found: the operator creates it, and the pods start by themselves',
    )


NOT_LACKING = {
    "another Secret": make_warning("FailedMount", OWN_SECRET.replace("churn-run-1", "model-store")),
    "its Secret a while ago": make_warning("FailedMount", OWN_SECRET, seconds_ago=180),
    "something else": make_warning("FailedScheduling", OWN_SECRET),
}


@pytest.mark.parametrize("warning", NOT_LACKING.values(), ids=NOT_LACKING)
def test_nothing_is_created_again_for_pods_that_lacked(warning):
    observation = observe(make_run(), make_waiting_pod(), warning)

    assert plan_for(make_record(status=named(1)), observation).actions == ()


def test_a_job_whose_run_is_refused_says_why_and_tries_again():
    refusal = Refusal(reason=Reason.POD_FORBIDDEN, message="denied by policy")

    plan = plan_for(make_record(), observe(refusal))

    assert plan.actions == ()
    assert why(plan.status) == (Reason.POD_FORBIDDEN, "denied by policy")
    assert plan.status.phase == "Pending"
    assert plan.look_again_seconds == 15


@pytest.mark.parametrize(
    ("waited_seconds", "begun", "fails"), [(59, False, False), (60, False, True), (60, True, False)]
)
def test_a_job_whose_first_run_is_refused_is_given_up_when_its_pods_are_overdue(
    waited_seconds, begun, fails
):
    """The next run of a job that has begun is bounded by `activeDeadlineSeconds`."""
    refusal = Refusal(
        reason=Reason.QUOTA_EXCEEDED,
        message="exceeded quota: count/jobs.batch",
        since=ago(waited_seconds),
    )
    begin = {"startTime": instant(3600)} if begun else {}
    record = make_record({"spec.preRunningDeadlineSeconds": 60}, status=begin)

    status = status_for(record, observe(refusal))

    assert ("Failed" in true_conditions(status)) is fails
    if fails:
        assert failure(status) == (
            "PreRunningDeadlineExceeded",
            "no pod could be created within 60 s: exceeded quota: count/jobs.batch",
        )


WAITED = {
    "suspended": ({"spec.suspend": True}, observe()),
    "in its queue, where somebody has deleted its Job": ({}, observe(make_run(suspended=True))),
}


@pytest.mark.parametrize(("changes", "observation"), WAITED.values(), ids=WAITED)
def test_a_job_is_not_given_up_at_its_first_refusal_that_was_for_long(changes, observation):
    refusal = Refusal(reason=Reason.QUOTA_EXCEEDED, message="exceeded quota: count/jobs.batch")
    status = status_for(make_record(changes), observation, now=ago(3600))
    record = stored(make_record({"spec.preRunningDeadlineSeconds": 60}), status)

    assert true_conditions(status_for(record, observe(refusal))) == {"Reconciling"}


def test_what_the_platform_does_not_allow_fails_before_anything_is_created():
    record = make_record({"spec.workers.serviceAccountName": "admin"})

    plan = plan_for(record, observe())

    assert plan.actions == ()
    reason, message = failure(plan.status)
    assert reason == Reason.NOT_ALLOWED
    assert message.startswith(
        "spec.workers.serviceAccountName: the ServiceAccount 'admin' is not allowed here; use one "
        "of default"
    )


GONE = {
    "nothing is left": (),
    "its pods have ended": (make_ended_pod(1), make_ended_pod(143, index=1)),
    "its Job is on its way out and its pods are gone": (make_run(being_deleted=True),),
    "its pod was told to go two minutes and its grace ago": (
        make_pod(deleted=ago(130), grace_seconds=10),
    ),
}
NOT_GONE = {
    "its pod was told to go a second less than two minutes and its grace ago": (
        make_pod(deleted=ago(129), grace_seconds=10),
        1,
    ),
    "its pod was told to go just now": (make_pod(deleted=ago(0), grace_seconds=10), 130),
    "its pod was not even told to go": (make_pod(), 120),
    "its pod was never started": (make_waiting_pod(), 120),
    "its worker is alive": (make_pod(1), 120),
    "nobody knows what its pod does": (make_pod(phase="Unknown"), 120),
}


@pytest.mark.parametrize("parts", GONE.values(), ids=GONE)
def test_the_next_run_begins_when(parts):
    assert plan_for(make_record(status=named(1)), observe(*parts)).actions == (SECOND,)


@pytest.mark.parametrize(("pod", "again"), NOT_GONE.values(), ids=NOT_GONE)
def test_the_next_run_waits_while(pod, again):
    plan = plan_for(make_record(status=named(1)), observe(make_run(being_deleted=True), pod))

    assert plan.actions == ()
    assert why(plan.status) == (
        "WaitingForPods",
        f"the next run waits for the previous one to end: {pod.name}",
    )
    assert plan.look_again_seconds == again


def test_of_many_pods_that_are_waited_for_three_are_named():
    pods = [make_pod(index) for index in range(1000)]

    status = status_for(make_record(status=named(1)), observe(make_run(being_deleted=True), *pods))

    assert why(status)[1] == (
        "the next run waits for the previous one to end: churn-run-1-0, churn-run-1-1, "
        "churn-run-1-2 and 997 more"
    )


def test_the_pods_of_any_earlier_run_are_waited_for():
    plan = plan_for(make_record(status=named(3)), observe(make_pod(run=1)))

    assert plan.actions == ()


NUMBERS = {
    "the status knows more": (4, (make_run(2, being_deleted=True),), 5),
    "the cluster knows more": (1, (make_run(7, being_deleted=True),), 8),
    "nobody knows of a run": (None, (), 1),
}


@pytest.mark.parametrize(("known", "jobs", "number"), NUMBERS.values(), ids=NUMBERS)
def test_the_number_of_a_run_is_never_used_again_when(known, jobs, number):
    status = None if known is None else named(known)

    assert plan_for(make_record(status=status), observe(*jobs)).actions == (
        CreateRun(number=number, deadline_seconds=None),
    )


def test_a_job_that_vanished_is_not_created_again_under_its_number():
    assert plan_for(make_record(status=running_status()), observe()).actions == (SECOND,)


def test_an_earlier_run_that_is_still_there_is_cleared_away_and_never_gone_on_with():
    """The status knows run 2, and only run 1 is there: were it gone on with, 2 would come twice."""
    plan = plan_for(make_record(status=named(2)), observe(make_run(1)))

    assert plan.actions == (DeleteRun(job_name="churn-run-1", job_uid="uid-of-run-1"),)
    assert plan.status.run.number == 2


def test_an_earlier_run_beside_the_current_one_is_deleted():
    plan = plan_for(make_record(status=named(2)), observe(make_run(1), make_run(2)))

    assert plan.actions == (DeleteRun(job_name="churn-run-1", job_uid="uid-of-run-1"),)


def test_a_run_whose_first_pod_is_on_a_lost_node_is_deleted_after_the_fence():
    head = make_pod(deleted=ago(130), grace_seconds=10)
    record = make_record(status=running_status())

    plan = plan_for(record, observe(make_run(), head, make_pod(1)))

    assert plan.actions == (DeleteRun(job_name="churn-run-1", job_uid="uid-of-run-1"),)
    assert why(plan.status)[0] == Reason.NODE_LOST


def test_a_run_whose_first_pod_a_sidecar_keeps_is_counted_and_then_replaced():
    """Its Job would wait for ever, and nothing but its runs would count how often it fails."""
    record, run = make_record(status=running_status()), make_run()
    head = make_kept_pod(137, 31, reason="OOMKilled")

    counted = plan_for(record, observe(run, head))
    deleted = plan_for(stored(record, counted.status), observe(run, head))

    assert counted.actions == ()
    assert counted.status.run.unreported == 1
    assert why(counted.status) == (
        Reason.REPORT_MISSING,
        (
            "run 1 ended without a report; pod churn-run-1-0 ended with exit code 137 (OOMKilled): "
            "raise spec.workers.resources.limits.memory or lower spec.batching.batchSize; another "
            "container keeps its pod, which is not replaced: inject sidecars as native ones or not "
            "at all; the next run begins"
        ),
    )
    assert deleted.actions == (DeleteRun(job_name=run.name, job_uid=run.uid),)


KEPT_HEADS = {
    "its native sidecars may be ending": make_kept_pod(137, 30),
    "it was told to go": make_kept_pod(143, 99, deleted=ago(5), grace_seconds=10),
    "it is a worker's": make_kept_pod(137, 99, index=1),
}


@pytest.mark.parametrize("pod", KEPT_HEADS.values(), ids=KEPT_HEADS)
def test_a_run_goes_on_though_a_sidecar_keeps_a_pod_whose_runner_has_ended_where(pod):
    record = make_record({"spec.workers.replicas": 2}, status=running_status())
    run = make_run(parallelism=2, applied_workers=2)

    assert plan_for(record, observe(run, pod)).actions == ()
    assert status_for(record, observe(run, pod)).run.job_name == run.name


def test_a_verdict_counts_though_a_sidecar_keeps_the_pod():
    status = status_for(make_record(), observe(make_run(), make_kept_pod(0, 1, make_success())))

    assert "Complete" in true_conditions(status)


@pytest.mark.parametrize(
    "pod",
    [
        make_pod(deleted=ago(129), grace_seconds=10),
        make_pod(1, deleted=ago(9999), grace_seconds=10),
        make_ended_pod(1, deleted=ago(9999), grace_seconds=10),
    ],
    ids=["it may come back", "a worker costs a slot only", "it is over and is replaced"],
)
def test_a_run_goes_on_though_a_pod_is_lost_when(pod):
    plan = plan_for(make_record(status=running_status()), observe(make_run(), pod))

    assert plan.actions == ()
