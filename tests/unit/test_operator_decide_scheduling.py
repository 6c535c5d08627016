"""Pods that get no node, as none is found or nobody looks for one; or that nobody asks for."""

from __future__ import annotations

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.troubles import find_trouble
from testkit.observations import (
    NOW,
    ago,
    make_pod,
    make_record,
    make_run,
    make_waiting_pod,
    named_run,
    observe,
    plan_for,
    why,
)

NO_NODE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def test_of_several_pods_without_a_node_the_number_is_told():
    run = make_run(parallelism=4)
    pods = [make_waiting_pod(index, unscheduled_message=NO_NODE) for index in (1, 2, 3)]

    found = find_trouble(make_record(), run, observe(make_pod(), *pods), now=NOW)

    assert found.message == f"no node for 3 of 4 pods: {NO_NODE}"


def test_a_scheduler_that_does_not_look_at_a_pod_is_named():
    pod = make_waiting_pod(awaited_scheduler="nope", created=ago(31))

    found = find_trouble(make_record(), make_run(), observe(pod), now=NOW)

    assert found.reason == Reason.UNSCHEDULABLE
    assert found.message == (
        "no scheduler has looked at pod churn-run-1-0: ask the platform team whether the scheduler "
        '"nope" runs, or suspend the job, correct spec.workers.schedulerName, and resume it'
    )


def test_a_pod_that_no_scheduler_has_looked_at_yet_is_looked_at_again():
    pod = make_waiting_pod(awaited_scheduler="nope", created=ago(29))

    plan = plan_for(make_record(status={"run": named_run()}), observe(make_run(), pod))

    assert why(plan.status)[0] == "Starting"
    assert plan.look_again_seconds is not None


def test_gates_that_hold_pods_back_are_named():
    run = make_run(parallelism=2)
    gates = {"scheduling_gates": ("a.example/quota", "b.example/net"), "created": ago(31)}

    found = find_trouble(make_record(), run, observe(make_waiting_pod(**gates)), now=NOW)

    assert found.reason == Reason.UNSCHEDULABLE
    assert found.message == (
        "1 of 2 pods must not be scheduled yet: scheduling gates a.example/quota, b.example/net; "
        "a pod starts when whoever added its gates removes them"
    )


def test_a_job_that_somebody_has_scaled_to_zero_says_so():
    run = make_run(parallelism=0, applied_workers=4)
    going = make_pod(deleted=ago(5), grace_seconds=10)

    for pods in ((), (going,)):
        found = find_trouble(make_record(), run, observe(run, *pods), now=NOW)

        assert found.reason == Reason.SCALED_TO_ZERO
        assert found.message == (
            "somebody has set spec.parallelism of Job churn-run-1 to 0, so it gets no pods: set it "
            "back to 4, or suspend and resume the job"
        )


def test_a_job_that_a_queue_holds_back_is_not_said_to_be_scaled_to_zero():
    run = make_run(parallelism=0, suspended=True)

    assert find_trouble(make_record(), run, observe(run), now=NOW) is None
