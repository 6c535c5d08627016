"""The table of conditions, as kubectl, Helm, Flux and Argo CD read it."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_api.v1alpha1.status import JobStatus
from batch_inference_operator.carry_out import status_document
from testkit.observations import (
    condition,
    instant,
    make_ended_pod,
    make_failure,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    make_waiting_pod,
    observe,
    running_status,
    status_for,
    stored,
)

TYPES = ("Complete", "Failed", "Suspended", "Reconciling", "Stalled")
SUSPEND = {"spec.suspend": True}


def kstatus(status: JobStatus, *, generation: int = 1) -> str:
    """What kstatus makes of a custom resource (sigs.k8s.io/cli-utils, checkGenericProperties)."""
    if status.observed_generation != generation:
        return "InProgress"
    values = {found.type: found.status for found in status.conditions}
    for kind, verdict in (("Reconciling", "InProgress"), ("Stalled", "Failed")):
        if values.get(kind) == "True":
            return verdict
    ready = values.get("Ready", "True")
    return "Current" if ready == "True" else "InProgress"


# state: job, what is seen, then the values of Complete, Failed, Suspended, Reconciling, Stalled
TABLE = {
    "queued": (
        make_record(),
        observe(make_run(suspended=True)),
        "False False False True False",
        "InProgress",
    ),
    "starting": (
        make_record(),
        observe(make_run(), make_waiting_pod()),
        "False False False True False",
        "InProgress",
    ),
    "running": (
        make_record(),
        observe(make_run(), make_pod(), make_report()),
        "False False False True False",
        "InProgress",
    ),
    "in trouble": (
        make_record(),
        observe(make_run(), make_ended_pod(1)),
        "False False False True False",
        "InProgress",
    ),
    "being suspended": (
        make_record(SUSPEND),
        observe(make_pod()),
        "False False False True False",
        "InProgress",
    ),
    "suspended": (
        make_record(SUSPEND),
        observe(),
        "False False True False False",
        "Current",
    ),
    "done": (
        make_record(),
        observe(make_run(), make_ended_pod(0, make_success())),
        "True False False False False",
        "Current",
    ),
    "failed": (
        make_record(),
        observe(make_run(), make_ended_pod(70, make_failure("RowRejected"))),
        "False True False False True",
        "Failed",
    ),
    "invalid": (
        make_record({"spec.postprocessing": {"columns": [{"name": "a", "expression": "1"}] * 2}}),
        observe(),
        "False True False False True",
        "Failed",
    ),
    "not allowed": (
        make_record({"spec.workers.image": "evil"}),
        observe(),
        "False True False False True",
        "Failed",
    ),
}


@pytest.mark.parametrize(("record", "observation", "values", "verdict"), TABLE.values(), ids=TABLE)
def test_the_conditions_of_a_job_that_is(record, observation, values, verdict):
    status = status_for(record, observation)

    found = {kind: condition(status, kind).status for kind in TYPES}
    assert found == dict(zip(TYPES, values.split(), strict=True))
    assert kstatus(status) == verdict


def test_the_five_conditions_come_first_and_in_the_same_order():
    status = status_for(make_record(), observe(make_run(), make_pod(), make_report()))

    assert tuple(found.type for found in status.conditions) == (
        *TYPES,
        "InputsResolved",
        "ModelVerified",
        "SchemaValid",
    )


def test_all_give_the_reason_and_those_that_are_true_the_message():
    status = status_for(
        make_record(), observe(make_run(), make_ended_pod(70, make_failure("RowRejected", "row 3")))
    )

    assert {found.reason for found in status.conditions} == {"RowRejected"}
    assert {found.message for found in status.conditions if found.status == "True"} == {"row 3"}
    assert {found.message for found in status.conditions if found.status != "True"} == {""}


def status_of_yesterday(**changes: Any) -> dict[str, Any]:
    conditions = [
        {
            "type": kind,
            "status": "True" if kind == "Reconciling" else "False",
            "observedGeneration": 1,
            "lastTransitionTime": instant(86400),
            "reason": "Starting",
            "message": "",
        }
        for kind in TYPES
    ]
    return running_status(conditions=conditions) | changes


def test_a_time_of_transition_changes_with_the_status_of_its_condition_only():
    record = make_record(status=status_of_yesterday())

    running = status_for(record, observe(make_run(), make_pod(), make_report()))
    failed = status_for(record, observe(make_run(), make_ended_pod(70, make_failure("X"))))

    assert {condition(running, kind).last_transition_time for kind in TYPES} == {instant(86400)}
    assert condition(running, "Reconciling").reason == "Running", "the reason did change"
    changed = {"Failed", "Reconciling", "Stalled"}
    for kind in TYPES:
        since = instant() if kind in changed else instant(86400)
        assert condition(failed, kind).last_transition_time == since, kind


def test_every_condition_is_about_the_generation_that_was_read():
    record = make_record({"metadata.generation": 9}, status=status_of_yesterday())

    status = status_for(record, observe(make_run(), make_pod()))

    assert status.observed_generation == 9
    assert {found.observed_generation for found in status.conditions} == {9}


CHECKS = {
    "InputsResolved": (Reason.INPUT_NOT_FOUND, Reason.INPUT_CHANGED, Reason.INPUT_CORRUPT),
    "ModelVerified": (
        Reason.MODEL_NOT_FOUND,
        Reason.MODEL_DIGEST_MISMATCH,
        Reason.MODEL_UNSUPPORTED,
        Reason.MODEL_UNSAFE,
        Reason.MODEL_NOT_ROWWISE,
        Reason.ACCELERATOR_UNAVAILABLE,
    ),
    "SchemaValid": (Reason.SCHEMA_MISMATCH, Reason.AMBIGUOUS_COLUMN),
}


@pytest.mark.parametrize(
    ("kind", "reason"), [(kind, reason) for kind, found in CHECKS.items() for reason in found]
)
def test_what_planning_found_wrong_is_a_condition_of_its_own(kind, reason):
    pod = make_ended_pod(65, make_failure(reason, "so it is"))

    status = status_for(make_record(), observe(make_run(), pod))

    found = condition(status, kind)
    assert (found.status, found.reason, found.message) == ("False", reason, "so it is")
    assert not {other.type for other in status.conditions} & (set(CHECKS) - {kind})


def test_what_planning_found_right_is_known_once_rows_are_scored():
    planning = status_for(
        make_record(), observe(make_run(), make_pod(), make_report(RunPhase.PLANNING))
    )
    running = status_for(make_record(), observe(make_run(), make_pod(), make_report()))

    assert not {found.type for found in planning.conditions} & set(CHECKS)
    assert {condition(running, kind).status for kind in CHECKS} == {"True"}


def test_what_planning_found_stays_known_when_the_run_is_asked_no_more():
    record = make_record()
    running = status_for(record, observe(make_run(), make_pod(), make_report()))

    suspended = status_for(stored(make_record(SUSPEND), running), observe())

    assert {condition(suspended, kind).status for kind in CHECKS} == {"True"}


def test_the_conditions_of_others_are_kept():
    theirs = {
        "type": "example.com/Audited",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": instant(500),
        "reason": "Audited",
        "message": "fine",
    }
    record = make_record(status=running_status(conditions=[theirs]))

    status = status_for(record, observe(make_run(), make_pod()))

    assert status_document(status)["conditions"][-1] == theirs


def test_there_are_never_more_conditions_than_the_api_takes():
    theirs = [
        {
            "type": f"example.com/C{number}",
            "status": "True",
            "lastTransitionTime": instant(500),
            "reason": "R",
            "message": "",
        }
        for number in range(16)
    ]
    record = make_record(status=running_status(conditions=theirs))

    status = status_for(record, observe(make_run(), make_pod(), make_report()))

    assert len(status.conditions) == 16
    assert {*TYPES, *CHECKS} < {found.type for found in status.conditions}


MESSAGES = {
    "a long one is cut": ("x" * 5000, "x" * 1000),
    "a long one is cut between letters": ("\N{SNOWMAN}" * 5000, "\N{SNOWMAN}" * 333),
    "lines stay": ("a: b\nc: d", "a: b\nc: d"),
    "what moves a terminal's cursor is left out": ("\x1b[2Ja\x00b\u202ec\u2028", " [2Ja b c "),
}


@pytest.mark.parametrize(("said", "told"), MESSAGES.values(), ids=MESSAGES)
def test_of_messages(said, told):
    pod = make_ended_pod(70, make_failure("RowRejected", said))

    status = status_for(make_record(), observe(make_run(), pod))

    assert condition(status, "Failed").message == told
