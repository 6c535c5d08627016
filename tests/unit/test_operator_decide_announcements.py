"""Events that tell of a change, each said once."""

from __future__ import annotations

import pytest

from batch_inference_operator.decide.plan import Announcement
from testkit.observations import (
    make_ended_pod,
    make_failure,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    make_waiting_pod,
    observe,
    plan_for,
    running_status,
    stored,
)

SUSPEND = {"spec.suspend": True}
STARTED = Announcement(reason="RunStarted", message="run 1 started as Job churn-run-1")
NO_NODE = "0/3 nodes are available"

SAID = {
    "a run that begins": (make_record(), (make_run(),), [STARTED]),
    "a job that is done": (
        make_record(status=running_status()),
        (make_run(), make_ended_pod(0, make_success())),
        [Announcement(reason="Complete", message="997 rows written, 3 rejected")],
    ),
    "a job that failed": (
        make_record(status=running_status()),
        (make_run(), make_ended_pod(70, make_failure("RowRejected", "row 3"))),
        [Announcement(reason="RowRejected", message="row 3", is_warning=True)],
    ),
    "a job that is suspended": (
        make_record(SUSPEND, status=running_status()),
        (),
        [
            Announcement(
                reason="Suspended",
                message="suspended by spec.suspend; what is committed stays",
            )
        ],
    ),
    "a trouble": (
        make_record(status=running_status()),
        (make_run(), make_waiting_pod(unscheduled_message=NO_NODE)),
        [
            Announcement(
                reason="Unschedulable",
                message=f"no node for 1 of 1 pods: {NO_NODE}",
                is_warning=True,
            )
        ],
    ),
    "a run that began and failed while nobody looked": (
        make_record(),
        (make_run(), make_ended_pod(70, make_failure("RowRejected", "row 3"))),
        [STARTED, Announcement(reason="RowRejected", message="row 3", is_warning=True)],
    ),
}
NOT_SAID = {
    "a run that scores": (make_run(), make_pod(), make_report()),
    "a run that starts": (make_run(), make_waiting_pod()),
    "a run that a queue holds back": (make_run(suspended=True),),
    "pods that are waited for": (make_pod(),),
}


@pytest.mark.parametrize(("record", "parts", "said"), SAID.values(), ids=SAID)
def test_people_are_told_of(record, parts, said):
    assert list(plan_for(record, observe(*parts)).announcements) == said


@pytest.mark.parametrize(("record", "parts"), [case[:2] for case in SAID.values()], ids=SAID)
def test_people_are_told_once_of(record, parts):
    plan = plan_for(record, observe(*parts))

    assert plan_for(stored(record, plan.status), observe(*parts)).announcements == ()


@pytest.mark.parametrize("parts", NOT_SAID.values(), ids=NOT_SAID)
def test_people_are_not_told_of(parts):
    record = make_record(status=running_status())

    assert plan_for(record, observe(*parts)).announcements == ()


def test_pods_that_go_for_suspension_are_no_news():
    record = make_record(SUSPEND, status=running_status())

    assert plan_for(record, observe(make_run(), make_pod())).announcements == ()


def test_a_run_that_is_taken_away_before_it_was_named_is_no_news():
    record = make_record(SUSPEND)
    assert plan_for(record, observe(make_run(), make_pod())).announcements == ()


def test_a_trouble_in_other_words_is_no_other_trouble():
    """A scheduler counts nodes anew each time: that is no news."""
    record = make_record(status=running_status())
    waiting = make_waiting_pod(unscheduled_message=NO_NODE)
    record = stored(record, plan_for(record, observe(make_run(), waiting)).status)
    still = make_waiting_pod(unscheduled_message="0/4 nodes are available")

    assert plan_for(record, observe(make_run(), still)).announcements == ()


def test_a_trouble_that_comes_back_is_told_again():
    record = make_record(status=running_status())
    trouble = observe(make_run(), make_ended_pod(1))
    for observation in (trouble, observe(make_run(), make_pod(), make_report())):
        record = stored(record, plan_for(record, observation).status)

    (announcement,) = plan_for(record, trouble).announcements

    assert announcement.reason == "HeadFailed"
