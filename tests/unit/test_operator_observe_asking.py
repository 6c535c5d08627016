"""Whom the operator asks beside its cache: the API server, the first pod, and events."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.runner_contract import RunPhase
from batch_inference_operator.observation import (
    ClusterWarning,
    Observation,
)
from batch_inference_operator.progress_poll import Poll, PollTarget
from testkit.observations import (
    ago,
    finished_status,
    instant,
    make_record,
    make_report,
    make_success,
    running_status,
)
from testkit.operator_jobs import JOB_UID
from testkit.sent_objects import (
    NAME,
    RUNNING,
    Poller,
    Server,
    job_as_sent,
    look,
    pod_as_sent,
)

REPORT = make_success()
LABELS = (
    f"app.kubernetes.io/managed-by=batch-inference-operator,batchinference.dev/job-uid={JOB_UID}"
)
LIVE = [f"Job {LABELS}", f"Pod {LABELS}"]
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
DONE = {"terminated": {"exitCode": 0, "message": REPORT.model_dump_json()}}
INTERRUPTED = make_report(RunPhase.INTERRUPTED, final=True)
STOPPED = {"terminated": {"exitCode": 143, "message": INTERRUPTED.model_dump_json()}}
KEPT = {"terminated": {"exitCode": 137, "finishedAt": instant(31)}}
BACKOFF = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
LOOKS = {
    "a run that goes on is believed": ((job_as_sent(), pod_as_sent(RUNNING)), running_status(), []),
    "no run at all is not": ((), running_status(), LIVE),
    "a run on its way out is no run": (
        (job_as_sent(deletionTimestamp=instant()),),
        running_status(),
        LIVE,
    ),
    "a run before the one that the status knows is not": (
        (job_as_sent(), pod_as_sent(RUNNING)),
        running_status(number=2),
        LIVE,
    ),
    "a run that ended without a report is not": (
        (job_as_sent(status=COMPLETE), pod_as_sent(RUNNING)),
        running_status(),
        LIVE,
    ),
    "a run that ended with a report is believed": (
        (job_as_sent(status=COMPLETE), pod_as_sent(DONE)),
        running_status(),
        [],
    ),
    "a run that ended after a report that was no verdict is not": (
        (job_as_sent(status=BACKOFF), pod_as_sent(STOPPED)),
        running_status(),
        LIVE,
    ),
    "a first pod that a sidecar seems to keep is not": (
        (job_as_sent(), pod_as_sent(KEPT)),
        running_status(),
        LIVE,
    ),
    "a finished job needs no run": ((), finished_status(), []),
}


@pytest.mark.parametrize(("cached", "status", "asked"), LOOKS.values(), ids=LOOKS)
def test_the_server_is_asked_before_something_is_created_or_deleted_for_good(cached, status, asked):
    server = Server()

    look(*cached, record=make_record(status=status), server=server)

    assert server.asked == asked


def test_nothing_is_asked_about_a_job_that_is_left_alone():
    changes = {"spec.managedBy": "kueue.x-k8s.io/multikueue"}
    server = Server(Job=[job_as_sent()])

    assert look(record=make_record(changes), server=server) == Observation()
    assert server.asked == []


def test_what_the_server_lists_is_what_is_seen():
    job, pod = job_as_sent(), pod_as_sent(RUNNING)

    observation = look(server=Server(Job=[job], Pod=[pod]))

    assert (len(observation.jobs), len(observation.pods)) == (1, 1)


def test_index_0_is_asked_how_far_it_is():
    poller = Poller(Poll(report=make_report()))

    observation = look(
        job_as_sent(), pod_as_sent(RUNNING), pod_as_sent(RUNNING, index=1), poller=poller
    )

    assert observation.report == make_report()
    assert poller.asked == [
        PollTarget(pod_uid="uid-of-pod-0", ip="10.0.0.7", job_uid=JOB_UID, run_number=1)
    ]


def test_for_how_long_index_0_has_been_silent_is_known():
    poller = Poller(Poll(unreachable_seconds=42, failure="it answered 404"))

    seen = look(job_as_sent(), pod_as_sent(RUNNING), poller=poller)

    assert (seen.unreachable_seconds, seen.poll_failure) == (42, "it answered 404")
    assert not seen.is_poll_skewed


def test_that_index_0_is_of_another_release_is_known():
    poller = Poller(Poll(failure="contract version 2", is_skewed=True))

    seen = look(job_as_sent(), pod_as_sent(RUNNING), poller=poller)

    assert (seen.is_poll_skewed, seen.poll_failure) == (True, "contract version 2")


NOT_ASKED = {
    "that waits": pod_as_sent({"waiting": {}}),
    "that has ended": pod_as_sent(DONE),
    "without an address": pod_as_sent(RUNNING, status={"podIP": None}),
    "that failed as a whole": pod_as_sent(RUNNING, status={"phase": "Failed"}),
    "that is a worker": pod_as_sent(RUNNING, index=1),
}


@pytest.mark.parametrize("pod", NOT_ASKED.values(), ids=NOT_ASKED)
def test_nobody_asks_a_pod(pod):
    poller = Poller(Poll(report=make_report()))

    assert look(job_as_sent(), pod, poller=poller).report is None
    assert poller.asked == []


EVENT = {
    "metadata": {"creationTimestamp": instant(9)},
    "reason": "FailedCreate",
    "message": "exceeded quota",
}
DATES = {
    "as it was created": ({}, 9),
    "as new events are": ({"eventTime": instant(8), "lastTimestamp": None}, 8),
    "as old events are": ({"lastTimestamp": instant(7), "firstTimestamp": instant(9)}, 7),
    "as repeated events are": (
        {"series": {"lastObservedTime": instant(6)}, "eventTime": instant(9)},
        6,
    ),
}


@pytest.mark.parametrize(("times", "seconds_ago"), DATES.values(), ids=DATES)
def test_a_warning_is_dated(times, seconds_ago):
    observation = look(job_as_sent(), server=Server(Event=[EVENT | times]))

    assert observation.warnings == (
        ClusterWarning(reason="FailedCreate", message="exceeded quota", seen=ago(seconds_ago)),
    )


def test_the_latest_warning_comes_first():
    events = [EVENT | {"message": str(age), "lastTimestamp": instant(age)} for age in (5, 1, 3)]

    warnings = look(job_as_sent(), server=Server(Event=events)).warnings

    assert [warning.message for warning in warnings] == ["1", "3", "5"]


def test_a_job_is_seen_without_the_warnings_that_cannot_be_read():
    """They only explain: a job must not stand still for want of them."""
    seen = look(job_as_sent(), server=Server(Event=[EVENT], refused="Event"))

    assert (len(seen.jobs), seen.warnings) == (1, ())
    assert seen.warnings_missed


MISSES_NONE = {
    "warnings that are read": (Server(Event=[EVENT]), (job_as_sent(),)),
    "no warnings at all": (Server(), (job_as_sent(),)),
    "warnings that are not asked for": (
        Server(refused="Event"),
        (job_as_sent(), pod_as_sent(RUNNING)),
    ),
}


@pytest.mark.parametrize(("server", "children"), MISSES_NONE.values(), ids=MISSES_NONE)
def test_nothing_is_missed_of(server, children):
    assert not look(*children, server=server).warnings_missed


def asked_about(*children: dict[str, Any]) -> list[str]:
    server = Server()
    look(*children, server=server)
    return [asked for asked in server.asked if asked.startswith("Event")]


def test_warnings_are_asked_for_about_pods_that_wait_and_a_job_that_lacks_some():
    about_job = "Event involvedObject.uid=uid-of-run-1,type=Warning"
    about_pod = "Event involvedObject.uid=uid-of-pod-0,type=Warning"
    waits = {"waiting": {"reason": "ContainerCreating"}}

    assert asked_about(job_as_sent()) == [about_job]
    assert asked_about(job_as_sent(), pod_as_sent(waits)) == [about_pod]


UNASKED = {
    "pods that run": (job_as_sent(), pod_as_sent(RUNNING)),
    "a pod whose runner has ended beside a sidecar": (
        job_as_sent(),
        pod_as_sent({"terminated": {"exitCode": 1}}),
    ),
    "a Job of a moment ago": (job_as_sent(creationTimestamp=instant(4)),),
    "a pod of a moment ago": (
        job_as_sent(),
        pod_as_sent({"waiting": {}}, creationTimestamp=instant(4)),
    ),
}


@pytest.mark.parametrize("children", UNASKED.values(), ids=UNASKED)
def test_no_warnings_are_asked_for_about(children):
    assert asked_about(*children) == []


def test_a_pod_that_copies_the_labels_of_index_0_leads_no_run():
    copy = pod_as_sent(RUNNING, name="copy", uid="uid-of-a-copy", ownerReferences=[])
    observation = look(job_as_sent(), pod_as_sent(RUNNING), copy)

    (run,) = observation.jobs

    assert [pod.name for pod in observation.heads_of(run)] == [f"{NAME}-0"]
    assert len(observation.pods) == 2, "it may be an orphan: the next run waits for it"
