"""What the API server sends -> what decisions see; and when the cache is not asked alone."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.runner_contract import RowFailure
from batch_inference_operator.build.job import fingerprint_of_pods
from batch_inference_operator.observation import (
    JobEnd,
    Observation,
    RunJob,
    RunPod,
    Termination,
)
from testkit.observations import (
    ago,
    instant,
    make_record,
    make_success,
)
from testkit.operator_jobs import JOB_UID
from testkit.sent_objects import (
    NAME,
    RUNNING,
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

    assert (job.end, job.end_reason) == (JobEnd.FAILED, "BackoffLimitExceeded")


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


def test_the_finalizers_that_others_have_added_to_a_job_are_read():
    job = read_job(finalizers=["foregroundDeletion", "a.example/audit", "orphan"])

    assert job.finalizers == ("a.example/audit",)


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
        owner_name=NAME,
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


def test_a_run_of_any_number_that_a_status_may_hold_is_read():
    assert read_pod(RUNNING, index=str(2**53 - 1)).index == 2**53 - 1


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


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"exitCode": 1, "reason": "Error", "message": "no chain\n"}, "1: Error: no chain"),
        ({"exitCode": 137, "reason": "OOMKilled"}, "137: OOMKilled"),
        ({"exitCode": 2}, "2"),
    ],
)
def test_the_end_of_a_container_before_the_runner_is_read(end, words):
    status = with_inits(agent={"terminated": {"exitCode": 0}}, mesh={"terminated": end})

    pod = read_pod(INITIALIZING, status=status | {"phase": "Failed"})

    assert pod.init_failure == f"init container mesh ended with exit code {words}"


def with_condition(kind: str, status: str, **words: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, **words}]}


def test_what_the_scheduler_says_is_read_until_it_has_found_a_node():
    says = {"reason": "Unschedulable", "message": "0/3 nodes are available"}

    waiting = read_pod(status=with_condition("PodScheduled", "False", **says))
    scheduled = read_pod(status=with_condition("PodScheduled", "True", **says))

    assert waiting.unscheduled_message == "0/3 nodes are available"
    assert scheduled.unscheduled_message == ""


UNSEEN = {
    "it is new": (read_pod(spec={}), "default-scheduler"),
    "it wants another": (read_pod(spec={"schedulerName": "nope"}), "nope"),
    "no node was found": (read_pod(spec={}, status=with_condition("PodScheduled", "False")), ""),
    "it has a node": (read_pod(), ""),
}


@pytest.mark.parametrize(("pod", "scheduler"), UNSEEN.values(), ids=UNSEEN)
def test_a_pod_awaits_its_scheduler_until_that_has_looked_at_it(pod, scheduler):
    assert pod.awaited_scheduler == scheduler


def test_the_gates_that_hold_a_pod_back_are_no_lack_of_nodes():
    says = {"reason": "SchedulingGated", "message": "Scheduling is blocked"}

    pod = read_pod(
        spec={"schedulingGates": [{"name": "a.example/quota"}, {"name": "b.example/net"}]},
        status=with_condition("PodScheduled", "False", **says),
    )

    assert pod.scheduling_gates == ("a.example/quota", "b.example/net")
    assert (pod.awaited_scheduler, pod.unscheduled_message) == ("", "")


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
    "a report": (REPORT.model_dump_json(), REPORT, "", False),
    "nothing": ("", None, "", False),
    "a line of a log": ("Killed", None, "Killed", False),
    "a report that was cut among its samples": (
        SAMPLED.model_dump_json()[:-20],
        SAMPLED.model_copy(update={"failures": ()}),
        "",
        False,
    ),
    "a report that was cut too early": (
        '{"job": {"name": "chu',
        None,
        "the ProgressReport cannot be read: job: Field required",
        False,
    ),
    "a report of another contract": (
        '{"contractVersion": 2}',
        None,
        (
            "runner contract version 2 is not supported: this package speaks version 1; use an "
            "operator and a runner image of one release"
        ),
        True,
    ),
    "JSON that is no report": (
        "{}",
        None,
        "the ProgressReport cannot be read: job: Field required",
        False,
    ),
}


@pytest.mark.parametrize(
    ("left", "report", "message", "is_skewed"), MESSAGES.values(), ids=MESSAGES
)
def test_what_a_container_left_is_read(left, report, message, is_skewed):
    end = {"exitCode": 70, "reason": "Error", "finishedAt": instant(1), "message": left}

    assert read_pod({"terminated": end}).termination == Termination(
        exit_code=70,
        reason="Error",
        finished=ago(1),
        report=report,
        message=message,
        is_skewed=is_skewed,
    )


def test_another_container_of_the_pod_does_not_count():
    """A mesh adds one; its exit code is not the runner's."""
    assert read_pod(RUNNING).termination is None
