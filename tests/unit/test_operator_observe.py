"""What the API server sends -> what decisions see; and when the cache is not asked alone."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.runner_contract import RowFailure, RunPhase
from batch_inference_operator.build.job import fingerprint_of_pods
from batch_inference_operator.observation import (
    ClusterWarning,
    JobEnd,
    Observation,
    RunJob,
    RunPod,
    Termination,
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
    read_job,
    read_pod,
)


def test_a_job_that_was_just_created_is_read():
    assert read_job(status={}) == RunJob(
        name=NAME,
        uid="uid-of-run-1",
        number=1,
        created=ago(60),
        parallelism=1,
        backoff_limit=6,
        applied_workers=1,
        applied_pods=fingerprint_of_pods(make_record().spec.workers),
    )


def test_a_job_that_goes_on_is_read():
    assert read_job().started == ago(59)


def ended(kind: str, reason: str, status: str = "True") -> dict[str, Any]:
    return {
        "conditions": [
            {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"},
            {"type": kind, "status": status, "reason": reason, "message": "so it is"},
        ]
    }


def test_a_job_that_failed_is_read():
    job = read_job(status=ended("Failed", "BackoffLimitExceeded"))

    assert (job.end, job.end_reason, job.end_message) == (
        JobEnd.FAILED,
        "BackoffLimitExceeded",
        "so it is",
    )


def test_a_job_that_is_complete_is_read():
    assert read_job(status=ended("Complete", "SuccessPolicy")).end is JobEnd.COMPLETE


@pytest.mark.parametrize(
    "status",
    [ended("Complete", "x", "False"), ended("SuccessCriteriaMet", "SuccessPolicy"), {}],
    ids=["a condition that is false", "a success that is not complete yet", "no conditions"],
)
def test_a_job_that_has_not_ended_is_read(status):
    assert read_job(status=status).end is None


def test_a_job_that_is_being_deleted_is_read():
    job = job_as_sent(deletionTimestamp=instant())

    assert look(job, server=Server(Job=[job])).jobs[0].being_deleted


def test_a_job_that_a_queue_holds_back_is_read():
    raw = job_as_sent(status={})
    raw["spec"]["suspend"] = True

    assert look(raw).jobs[0].suspended


def test_a_job_is_held_back_until_the_job_controller_has_taken_it_up_again():
    """Between the two it has no `startTime`, or that of its last time."""
    held = {"conditions": [{"type": "Suspended", "status": "True"}], "startTime": instant(9000)}
    begun = {"conditions": [{"type": "Suspended", "status": "False"}], "startTime": instant(1)}

    assert read_job(status=held).suspended
    assert not read_job(status=begun).suspended


@pytest.mark.parametrize(
    "applied",
    ["", "many", "-1", "\N{ARABIC-INDIC DIGIT ONE}", pytest.param("1" * 4301, id="4301 digits")],
)
def test_a_number_of_workers_that_somebody_made_up_is_as_good_as_none(applied):
    assert (
        read_job(annotations={"batchinference.dev/applied-workers": applied}).applied_workers
        is None
    )


@pytest.mark.parametrize("number", ["", "one", "-1", "1.0", None])
def test_children_that_somebody_made_up_are_none(number):
    labels = {
        "batchinference.dev/job-uid": JOB_UID,
        "app.kubernetes.io/managed-by": "batch-inference-operator",
    } | ({} if number is None else {"batchinference.dev/run": number})
    job, pod = job_as_sent(labels=labels), pod_as_sent(labels=labels)

    observation = look(job, pod, server=Server(Job=[job], Pod=[pod]))

    assert observation == Observation()


def test_a_job_that_only_has_the_labels_of_a_run_is_none():
    forged = job_as_sent(number=7, ownerReferences=[])

    assert look(forged, server=Server(Job=[forged])).jobs == ()


def test_a_pod_that_runs_is_read():
    assert read_pod(RUNNING) == RunPod(
        name=f"{NAME}-0",
        uid="uid-of-pod-0",
        run=1,
        owner_uid="uid-of-run-1",
        index=0,
        created=ago(50),
        phase="Running",
        ip="10.0.0.7",
        node="node-a",
        running_since=ago(30),
    )


def test_a_pod_that_was_just_created_is_read():
    raw = pod_as_sent()
    raw["status"], raw["spec"] = {}, {}

    (pod,) = look(job_as_sent(), raw).pods

    assert (pod.phase, pod.ip, pod.node, pod.running_since) == ("Pending", None, None, None)


@pytest.mark.parametrize("index", [None, "", "first", "-1", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_pod_without_an_index_is_read(index):
    assert read_pod(RUNNING, index=index).index is None


def test_a_pod_that_waits_is_read():
    pod = read_pod({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}})

    assert (pod.waiting_reason, pod.waiting_message) == ("ImagePullBackOff", "Back-off")


INITIALIZING = {"waiting": {"reason": "PodInitializing"}}
AWAY = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}


def with_inits(**states: dict[str, Any]) -> dict[str, Any]:
    """The containers that webhooks have added, each with its state."""
    names = {"initContainerStatuses": [{"name": n, "state": s} for n, s in states.items()]}
    return {"phase": "Pending"} | names


WAITING_FOR_INITS = {
    "a pull": (with_inits(mesh=AWAY, agent=INITIALIZING), ("mesh", "ImagePullBackOff", "Back-off")),
    "the pull after another's end": (
        with_inits(mesh={"terminated": {"exitCode": 0}}, agent=AWAY),
        ("agent", "ImagePullBackOff", "Back-off"),
    ),
    "work": (with_inits(mesh=RUNNING, agent=INITIALIZING), ("", "PodInitializing", "")),
    "what is not known yet": (with_inits(mesh={}), ("", "PodInitializing", "")),
}


@pytest.mark.parametrize(("status", "words"), WAITING_FOR_INITS.values(), ids=WAITING_FOR_INITS)
def test_a_pod_waits_for_the_containers_that_webhooks_have_put_before_the_runner(status, words):
    pod = read_pod(INITIALIZING, status=status)

    assert (pod.waiting_container, pod.waiting_reason, pod.waiting_message) == words


def test_a_pod_that_runs_waits_for_no_container_beside_the_runner():
    assert read_pod(RUNNING, status=with_inits(mesh=AWAY)).waiting_reason == ""


def with_condition(kind: str, status: str, **words: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, **words}]}


def test_what_the_scheduler_says_is_read_until_it_has_found_a_node():
    says = {"reason": "Unschedulable", "message": "0/3 nodes are available"}

    waiting = read_pod(status=with_condition("PodScheduled", "False", **says))
    scheduled = read_pod(status=with_condition("PodScheduled", "True", **says))

    assert waiting.unscheduled_message == "0/3 nodes are available"
    assert scheduled.unscheduled_message == ""


def test_a_disruption_is_read():
    reason = {"reason": "PreemptionByScheduler"}

    assert read_pod(status=with_condition("DisruptionTarget", "True", **reason)).disruption == (
        "PreemptionByScheduler"
    )
    assert read_pod(status=with_condition("DisruptionTarget", "False", **reason)).disruption == ""


def test_a_pod_that_failed_as_a_whole_is_read():
    pod = read_pod(status={"phase": "Failed", "reason": "Evicted", "message": "low on memory"})

    assert pod.is_over
    assert (pod.failure_reason, pod.failure_message) == ("Evicted", "low on memory")


def test_a_pod_is_told_to_go_a_grace_period_before_its_deletion_timestamp():
    pod = read_pod(RUNNING, deletionTimestamp=instant(0), deletionGracePeriodSeconds=10)

    assert (pod.deleted, pod.grace_seconds) == (ago(10), 10)


REPORT = make_success()
SAMPLED = REPORT.model_copy(
    update={
        "failures": (
            RowFailure(file="a.csv", row=3, stage="Read", error="InvalidCsvRow", message="m"),
        )
    }
)
MESSAGES = {
    "a report": (REPORT.model_dump_json(), REPORT, ""),
    "nothing": ("", None, ""),
    "a line of a log": ("Killed", None, "Killed"),
    "a report that was cut among its samples": (
        SAMPLED.model_dump_json()[:-20],
        SAMPLED.model_copy(update={"failures": ()}),
        "",
    ),
    "a report that was cut too early": (
        '{"job": {"name": "chu',
        None,
        "the ProgressReport cannot be read: job: Field required",
    ),
    "a report of another contract": (
        '{"contractVersion": 2}',
        None,
        (
            "runner contract version 2 is not supported: this package speaks version 1; use an "
            "operator and a runner image of one release"
        ),
    ),
    "JSON that is no report": (
        "{}",
        None,
        "the ProgressReport cannot be read: job: Field required",
    ),
}


@pytest.mark.parametrize(("left", "report", "message"), MESSAGES.values(), ids=MESSAGES)
def test_what_a_container_left_is_read(left, report, message):
    end = {"exitCode": 70, "reason": "Error", "finishedAt": instant(1), "message": left}

    assert read_pod({"terminated": end}).termination == Termination(
        exit_code=70, reason="Error", finished=ago(1), report=report, message=message
    )


def test_another_container_of_the_pod_does_not_count():
    """A mesh adds one; its exit code is not the runner's."""
    assert read_pod(RUNNING).termination is None


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
    poller = Poller(Poll(unreachable_seconds=42))

    assert look(job_as_sent(), pod_as_sent(RUNNING), poller=poller).unreachable_seconds == 42


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
