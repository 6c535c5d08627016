"""Pods of an earlier run that nothing tells to go: what to do about them, and for how long."""

from __future__ import annotations

import pytest

from testkit.observations import (
    ago,
    make_pod,
    make_record,
    make_run,
    named_run,
    observe,
    status_for,
    why,
)

NAMED = {"run": named_run()}
BEING_DELETED = make_run(being_deleted=True)
STRANGE = (
    "; if Job churn-run-1 is still there, delete it: it has lost the labels or the owner by which "
    "the operator knows it"
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
    "they were told to go": ((make_pod(deleted=ago(5), grace_seconds=10),), ""),
}


@pytest.mark.parametrize(("parts", "advice"), ADVICE.values(), ids=ADVICE)
def test_what_to_do_about_pods_where(parts, advice):
    message = why(status_for(make_record(status=NAMED), observe(*parts)))[1]

    waits, _, told = message.partition(";")
    assert waits.startswith("the next run waits for the previous one to end: churn-run-1-0")
    assert told == advice.removeprefix(";")
