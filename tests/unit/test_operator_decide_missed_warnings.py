"""A look at which events could not be read: what they told before still stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.record import Record
from batch_inference_operator.decide.scene import Trouble
from batch_inference_operator.decide.troubles import find_trouble
from testkit.observations import (
    NOW,
    condition,
    failure,
    instant,
    make_pod,
    make_record,
    make_run,
    make_waiting_pod,
    make_warning,
    named_run,
    observe,
    plan_for,
    status_for,
    stored,
)

QUOTA = 'pods "churn-x" is forbidden: exceeded quota: gpu, requested: cpu=4, used: cpu=8'
DENIED = 'admission webhook "labels.example.com" denied the request: no team'
NO_ADDRESS = 'Failed to create pod sandbox: plugin type="calico" failed (add): no IPs available'
MISSED = replace(observe(make_run()), warnings_missed=True)


def told(reason: str, status: str = "True") -> Record:
    """A job whose status says that it is in progress, and why it does not get on."""
    reconciling = {
        "type": "Reconciling",
        "status": status,
        "lastTransitionTime": instant(60),
        "reason": reason,
        "message": "so it was",
    }
    return make_record(status={"run": named_run(), "conditions": [reconciling]})


TOLD_BY_EVENTS = {
    "a quota": [make_warning("FailedCreate", QUOTA)],
    "a policy": [make_warning("FailedCreate", DENIED)],
    "an account": [make_warning("FailedCreate", 'serviceaccount "x" not found')],
    "a volume": [make_waiting_pod(node="a"), make_warning("FailedMount", "timed out")],
    "a Secret": [make_waiting_pod(node="a"), make_warning("FailedMount", 'secret "s" not found')],
    "a ConfigMap": [
        make_waiting_pod(node="a"), make_warning("FailedMount", 'configmap "c" not found'),
    ],
    "a network": [make_waiting_pod(node="a"), make_warning("FailedCreatePodSandBox", NO_ADDRESS)],
}  # fmt: skip


@pytest.mark.parametrize("parts", TOLD_BY_EVENTS.values(), ids=TOLD_BY_EVENTS)
def test_a_look_without_events_writes_nothing_anew(parts):
    seen = observe(make_run(), *parts)
    job = make_record(status={"run": named_run()})
    job = stored(job, status_for(job, seen))
    assert plan_for(job, seen).status == job.status

    status = plan_for(job, replace(seen, warnings=(), warnings_missed=True)).status

    assert status == job.status


def test_events_that_are_read_and_tell_nothing_end_the_trouble():
    assert find_trouble(told("QuotaExceeded"), make_run(), observe(make_run()), now=NOW) is None


def test_what_is_seen_without_events_goes_before_what_they_told():
    missed = replace(observe(make_run(), no_node()), warnings_missed=True)

    found = find_trouble(told("QuotaExceeded"), make_run(), missed, now=NOW)

    assert found.reason == Reason.UNSCHEDULABLE


def no_node():
    return make_waiting_pod(unscheduled_message="0/3 nodes are available")


NOT_KEPT = {
    "an ordinary wait": (told("WaitingForPods"), make_run()),
    "a phase": (told("Starting"), make_run()),
    "what its pods would tell again": (told("HeadUnresponsive"), make_run()),
    "what a condition denies": (told("QuotaExceeded", "False"), make_run()),
    "what a queue has ended": (told("QuotaExceeded"), make_run(suspended=True)),
    "a status without conditions": (make_record(), make_run()),
}


@pytest.mark.parametrize(("record", "run"), NOT_KEPT.values(), ids=NOT_KEPT)
def test_no_trouble_is_made_of(record, run):
    assert find_trouble(record, run, replace(MISSED, pods=(make_pod(),)), now=NOW) is None


def test_what_is_kept_is_word_for_word_what_the_status_tells():
    assert find_trouble(told("QuotaExceeded"), make_run(), MISSED, now=NOW) == Trouble(
        reason="QuotaExceeded", message="so it was"
    )


def test_a_missed_deadline_names_what_the_pods_waited_for():
    record = told("QuotaExceeded")
    changes = {"spec.preRunningDeadlineSeconds": 1, "status": {
        "startTime": instant(60), "run": named_run(),
        "conditions": [condition(record.status, "Reconciling").model_dump(by_alias=True)],
    }}  # fmt: skip

    reason, message = failure(status_for(make_record(changes), MISSED))

    assert reason == Reason.PRE_RUNNING_DEADLINE_EXCEEDED
    assert "so it was" in message
