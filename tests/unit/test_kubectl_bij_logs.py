"""Which pods' logs are read, and what is followed."""

from __future__ import annotations

import pytest

from batch_inference_operator.cluster.api import ClusterError, Forbidden, Unreachable
from batch_inference_operator.cluster.user_connection import Unauthorized
from batch_inference_operator.kubectl_bij import logs
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.pods import Wanted
from testkit.bij_sessions import (
    FakeCalls,
    complete_job,
    pod_object,
    printed,
    running_job,
    session,
    told,
)

PODS = [
    pod_object("first-0", run=1, minute=1, state="terminated"),
    pod_object("second-0-killed", run=2, minute=5, state="terminated"),
    pod_object("second-0", run=2, minute=7),
    pod_object("second-1", run=2, index=1, minute=6),
    pod_object("second-2", run=2, index=2, minute=6, state="waiting"),
]
LOGS = {
    "first-0": [b"first run\n"],
    "second-0": [b"one\n", b"two \xff\n", b"three\n"],
    "second-1": [b"worker\n"],
    "second-3": [b"last\n"],
}
SECOND_RUN = {"run": {"number": 2, "jobName": "churn-cd"}}


def log_of(wanted=Wanted(), *, pods=PODS, follow=False, tail=None, raw=None):  # noqa: B008 - frozen
    calls = FakeCalls(jobs=[raw or running_job(status=SECOND_RUN)], pods=pods, logs=LOGS)
    used = session(calls)
    logs.run(used, "churn", wanted, follow=follow, tail=tail)
    return printed(used)


def test_the_log_is_that_of_the_first_pod_of_the_current_run():
    assert log_of() == ["one", "two \ufffd", "three"]
    assert log_of(tail=1) == ["three"]


def test_other_pods_and_runs_can_be_asked_for():
    assert log_of(Wanted(index=1)) == ["worker"]
    assert log_of(Wanted(previous_run=True)) == ["first run"]
    assert log_of(Wanted(index=None), pods=PODS[2:4], tail=1) == ["[0] three", "[1] worker"]


def test_a_pod_without_a_log_hides_no_other():
    calls = FakeCalls(jobs=[running_job(status=SECOND_RUN)], pods=PODS, logs=LOGS)
    calls.pods.append(pod_object("second-3", run=2, index=3, minute=6))
    used = session(calls)

    ended = logs.run(used, "churn", Wanted(index=None), follow=False, tail=1)

    assert printed(used) == ["[0] three", "[1] worker", "[3] last"]
    assert [line.partition(":")[0] for line in told(used)] == ["pod 'second-2' has not begun"]
    assert ended is ExitCode.ERROR


ABSENT = {
    "a pod that has not begun": (Wanted(index=2), PODS, "has not begun: ContainerCreating; -f"),
    "an index that there is not": (Wanted(index=7), PODS, "run 2 has no pod 7; it has 0, 1, 2"),
    "a run whose pods are gone": (Wanted(previous_run=True), PODS[1:], "pods of run 1 are gone"),
    "no pods": (Wanted(), [], "run 2 has no pods"),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "pods", "said"), ABSENT.values(), ids=ABSENT)
def test_what_has_no_log_is_explained(wanted, pods, said):
    with pytest.raises(CommandFailed, match=said):
        log_of(wanted, pods=pods)


@pytest.mark.parametrize("sidecar", ["running", "terminated", "waiting"])
def test_another_container_of_the_pod_does_not_count(sidecar):
    pods = [pod_object("second-0", run=2, state="waiting", sidecar=sidecar)]
    with pytest.raises(CommandFailed, match="has not begun: ContainerCreating; -f"):
        log_of(pods=pods)


def test_a_job_without_a_run_has_no_log_yet():
    with pytest.raises(CommandFailed, match="has no pods yet"):
        log_of(pods=[], raw=running_job(status={}))


def test_the_first_run_has_none_before_it():
    with pytest.raises(CommandFailed, match="no earlier run"):
        log_of(Wanted(previous_run=True), pods=PODS[:1], raw=running_job())


def test_following_goes_on_with_the_pod_that_replaces_one_until_the_job_ends():
    calls = FakeCalls(jobs=[running_job(status=SECOND_RUN)], pods=PODS[:1], logs=LOGS)
    used = session(calls)
    steps = iter(
        [
            lambda: calls.pods.append(pod_object("second-0", run=2, minute=7, state="waiting")),
            lambda: calls.pods.append(pod_object("second-0", run=2, minute=8)),
            lambda: calls.jobs.__setitem__(0, complete_job()),
        ]
    )
    lines = logs.follow_lines(
        used, "churn", Wanted(), tail=None, pause=lambda _seconds: next(steps)()
    )
    assert list(lines) == ["one", "two \ufffd", "three"]
    assert [line.partition(";")[0] for line in told(used)] == [
        "waiting: run 2 has no pods: they are not there yet, or gone with their logs",
        "waiting: pod 'second-0' has not begun: ContainerCreating",
    ]


def test_a_log_whose_connection_breaks_is_taken_up_again():
    class Calls(FakeCalls):
        broken = False

        def read_log(self, pod, *, container, follow, tail):
            yield from super().read_log(pod, container=container, follow=follow, tail=tail)
            if not self.broken:
                self.broken = True
                raise Unreachable("reset")
            self.jobs[0] = complete_job()
            yield b"after\n"

    calls = Calls(jobs=[running_job(status=SECOND_RUN)], pods=PODS[2:3], logs=LOGS)
    used = session(calls)
    lines = logs.follow_lines(used, "churn", Wanted(), tail=None, pause=lambda _seconds: None)
    assert list(lines) == ["one", "two \ufffd", "three", "after"]
    assert "broke off and goes on from here: reset" in told(used)[0]


class Unwell(FakeCalls):
    """Refuses the looks whose numbers are in `refusals`, counted from 1."""

    looks = 0
    refusals: dict[int, ClusterError] = {}  # noqa: RUF012 - set by each test

    def get_job(self, name):
        self.looks += 1
        if self.looks in self.refusals:
            raise self.refusals[self.looks]
        return super().get_job(name)


def test_following_outlives_an_outage_between_pods_and_tells_of_it_once():
    calls = Unwell(jobs=[running_job(status=SECOND_RUN)], pods=PODS[2:3], logs=LOGS)
    calls.refusals = {2: Unreachable("no route"), 3: Unreachable("reset"), 4: Unauthorized("old")}
    used, pauses = session(calls), []

    def pause(seconds):
        pauses.append(seconds)
        calls.jobs[0] = complete_job() if calls.looks > 4 else calls.jobs[0]

    lines = logs.follow_lines(used, "churn", Wanted(), tail=None, pause=pause)
    assert list(lines) == ["one", "two \ufffd", "three"]
    assert told(used) == ["no route; trying again"]
    assert pauses == [0.4, 0.8, 1.6, 1.0]


@pytest.mark.parametrize(
    ("look", "refusal"), [(1, Unreachable("no route")), (2, Forbidden("no rights"))]
)
def test_following_ends_without_a_first_answer_and_without_rights(look, refusal):
    calls = Unwell(jobs=[running_job(status=SECOND_RUN)], pods=PODS[2:3], logs=LOGS)
    calls.refusals = {look: refusal}
    lines = logs.follow_lines(
        session(calls), "churn", Wanted(), tail=None, pause=lambda _seconds: None
    )
    with pytest.raises(type(refusal)):
        list(lines)


def test_following_all_outlives_an_outage_before_the_first_line(monkeypatch):
    calls = Unwell(jobs=[complete_job()], pods=PODS[:1], logs=LOGS)
    calls.refusals = {2: Unreachable("no route")}
    used = session(calls)
    with monkeypatch.context() as patch:  # undone before what keeps unit tests from sleeping is
        patch.setattr(logs.time, "sleep", lambda _seconds: None)
        ended = logs.run(used, "churn", Wanted(index=None), follow=True, tail=None)
    assert ended is ExitCode.SUCCESS
    assert printed(used) == ["[0] first run"]
    assert told(used) == ["no route; trying again"]


def test_following_all_ends_with_what_nobody_foresaw():
    class Broken(FakeCalls):
        def read_log(self, *_args, **_options):
            raise LookupError("a defect")

    calls = Broken(jobs=[running_job(status=SECOND_RUN)], pods=PODS[2:3], logs=LOGS)
    with pytest.raises(LookupError, match="a defect"):
        logs.run(session(calls), "churn", Wanted(index=None), follow=True, tail=None)
