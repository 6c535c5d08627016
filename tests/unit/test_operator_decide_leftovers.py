"""Pods of an earlier run that nothing tells to go: what to do about them, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batch_inference_api.reasons import Reason
from testkit.observations import (
    ago,
    failure,
    make_pod,
    make_record,
    make_run,
    make_waiting_pod,
    named_run,
    observe,
    plan_for,
    status_for,
    why,
)

NAMED = {"run": named_run()}
BEING_DELETED = make_run(being_deleted=True)
FINALIZERS = ("a.example/audit", "b.example/bill")
STRANGE = (
    "; if Job churn-run-1 is still there, delete it: it has lost the labels or the owner by which "
    "the operator knows it"
)
HELD = (
    "; the pods of Job churn-run-1 go on until whoever added its finalizers removes them: "
    "a.example/audit, b.example/bill"
)
ADVICE = {
    "somebody left them without their Job (`kubectl delete job --cascade=orphan`)": (
        (make_pod(owner_uid=None),),
        "; delete pods that have no Job any more and do not end: churn-run-1-0",
    ),
    "their Job has lost its labels, or its owner": (
        (make_pod(), make_pod(1)),
        STRANGE,
    ),
    "their Job is being deleted": ((BEING_DELETED, make_pod()), ""),
    "their Job is kept by finalizers of others": (
        (replace(BEING_DELETED, finalizers=FINALIZERS), make_pod()),
        HELD,
    ),
    "their Job is kept by finalizers of others, and somebody has told them to go": (
        (replace(BEING_DELETED, finalizers=FINALIZERS), make_pod(deleted=ago(5), grace_seconds=9)),
        "",
    ),
    "they were told to go": ((make_pod(deleted=ago(5), grace_seconds=10),), ""),
}


@pytest.mark.parametrize(("parts", "advice"), ADVICE.values(), ids=ADVICE)
def test_what_to_do_about_pods_where(parts, advice):
    message = why(status_for(make_record(status=NAMED), observe(*parts)))[1]

    waits, _, told = message.partition(";")
    assert waits.startswith("the next run waits for the previous one to end: churn-run-1-0")
    assert told == advice.removeprefix(";")


def test_a_job_that_is_suspended_tells_of_finalizers_too():
    job = replace(BEING_DELETED, finalizers=FINALIZERS)

    status = status_for(make_record({"spec.suspend": True}, status=NAMED), observe(job, make_pod()))

    assert why(status) == (
        "Suspending",
        f"waiting for the pods to end; what is committed stays{HELD}",
    )


LIMIT = {"spec.preRunningDeadlineSeconds": 600}


def test_pods_that_were_never_started_miss_the_deadline_of_their_run():
    """A policy may take the labels from the very first Job: its pods never get their Secret."""
    early = make_waiting_pod(created=ago(590))
    late = make_waiting_pod(created=ago(600))

    waits = plan_for(make_record(LIMIT), observe(early))
    reason, message = failure(status_for(make_record(LIMIT), observe(late)))

    assert why(waits.status)[0] == "WaitingForPods"
    assert waits.look_again_seconds == 10
    assert reason == Reason.PRE_RUNNING_DEADLINE_EXCEEDED
    assert message == (
        "the pods did not begin to score within 600 s: the next run waits for the previous one to "
        f"end: churn-run-1-0{STRANGE}"
    )


OLD = {"created": ago(9000)}
NO_DEADLINE = {
    "their run was seen, and has just been deleted": (LIMIT, NAMED, make_waiting_pod(**OLD)),
    "a pod runs, and may be scoring": (LIMIT, {}, make_pod(**OLD)),
    "the pods were told to go": (LIMIT, {}, make_waiting_pod(**OLD, deleted=ago(1))),
    "there is no limit": ({}, {}, make_waiting_pod(**OLD)),
}


@pytest.mark.parametrize(("spec", "status", "pod"), NO_DEADLINE.values(), ids=NO_DEADLINE)
def test_no_deadline_ends_the_wait_where(spec, status, pod):
    waits = status_for(make_record(spec, status=status), observe(pod))

    assert why(waits)[0] == "WaitingForPods"
