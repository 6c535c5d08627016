"""What can be typed, exit codes, waiting, suspending, and which pods' logs are read."""

from __future__ import annotations

import pytest

from batch_inference_operator.cluster.api import ClusterError, Forbidden, NotFound, Unreachable
from batch_inference_operator.cluster.user_connection import Unauthorized
from batch_inference_operator.kubectl_bij import logs, suspension
from batch_inference_operator.kubectl_bij.arguments import parse
from batch_inference_operator.kubectl_bij.durations import parse_duration
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.feed import Outage
from batch_inference_operator.kubectl_bij.pods import Wanted
from batch_inference_operator.kubectl_bij.wait import Waiter
from testkit.bij_sessions import (
    FakeCalls,
    ScriptedFeed,
    complete_job,
    failed_job,
    job_object,
    pod_object,
    printed,
    running_job,
    session,
    snapshot,
    suspended_job,
    told,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("500ms", 0.5),
     ("1.5h", 5400), ("0", 0)],
)  # fmt: skip
def test_durations_are_read_as_kubectl_reads_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "30 m", "-5m", "30x", "1h 30m", "five"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="write 90s, 30m, 1h30m or 2d"):
        parse_duration(text)


MISTAKES = {
    "no command": [],
    "no such command": ["stat", "churn"],
    "no name": ["status"],
    "no name to wait for": ["wait"],
    "a name that cannot be one": ["status", "Churn!"],
    "a time that is none": ["wait", "churn", "--timeout", "soon"],
    "one pod and all": ["logs", "churn", "--all", "--index", "1"],
    "a negative number of lines": ["logs", "churn", "--tail=-1"],
    "no such format": ["status", "churn", "-o", "yaml"],
}


@pytest.mark.parametrize("argv", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_ends_with_64_and_names_the_help(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == ExitCode.USAGE
    assert "--help`" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "watch", "wait", "logs", "suspend", "resume"])
def test_every_command_has_examples_and_the_flags_of_kubectl(command, capsys):
    with pytest.raises(SystemExit) as ended:
        parse([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"  kubectl bij {command} " in text.partition("examples:")[2]
    assert all(flag in text for flag in ("--namespace", "--context", "--kubeconfig"))


def test_the_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit):
        parse(["--version"])
    assert capsys.readouterr().out == "kubectl bij 0.2.0\n"


def test_flags_are_kept_for_the_next_command():
    chosen = parse(["watch", "bij/churn", "-n", "scoring", "--context", "my prod"])
    assert chosen.name == "churn"
    assert chosen.flags == " -n scoring --context 'my prod'"


def waited(names, seen, *, timeout_seconds=None, calls=None):
    used = session(calls or FakeCalls())
    feed = ScriptedFeed(seen)
    code = Waiter(used, names).wait(feed, clock=feed.clock, timeout_seconds=timeout_seconds)
    return code, used


def test_waiting_ends_with_0_when_all_are_complete():
    a, b = complete_job("a"), complete_job("b")
    code, used = waited(["a", "b"], [snapshot(a, running_job("b")), snapshot(a, b)])
    assert code is ExitCode.SUCCESS
    assert printed(used) == [
        "job 'a' is complete: 19999988 rows written, 12 rejected",
        "job 'b' is complete: 19999988 rows written, 12 rejected",
    ]


def test_waiting_ends_at_once_when_one_has_failed():
    code, used = waited(["a", "b"], [snapshot(running_job("a"), failed_job("b"))])
    assert code is ExitCode.JOB_FAILED
    assert told(used) == ["job 'b' failed: SchemaMismatch: column 'age' is missing"]


def test_waiting_ends_with_2_after_its_time_and_says_how_far_it_is():
    code, used = waited(["a"], [snapshot(running_job("a"))], timeout_seconds=90)
    assert code is ExitCode.TIMEOUT
    assert told(used)[0] == "not complete after 90 s:"
    assert told(used)[1].startswith("  a  Running  61 %  12,200,000/20,000,000 rows")


def test_a_timeout_of_nothing_only_looks():
    assert waited(["a"], [snapshot(complete_job("a"))], timeout_seconds=0)[0] is ExitCode.SUCCESS
    assert waited(["a"], [snapshot(running_job("a"))], timeout_seconds=0)[0] is ExitCode.TIMEOUT


def test_time_that_passes_while_changes_come_counts():
    feed = ScriptedFeed([snapshot(running_job("a"))] * 3)
    ticks = iter(range(0, 1000, 40))
    code = Waiter(session(FakeCalls()), ["a"]).wait(
        feed, clock=lambda: next(ticks), timeout_seconds=100
    )
    assert code is ExitCode.TIMEOUT


def test_waiting_for_what_is_not_there_fails_at_once():
    with pytest.raises(CommandFailed, match="no job 'x' in namespace 'scoring'"):
        waited(["a", "x"], [snapshot(running_job("a"))])


def test_waiting_for_what_is_deleted_fails():
    with pytest.raises(CommandFailed, match="'a' was deleted before it was complete"):
        waited(["a"], [snapshot(running_job("a")), snapshot()])


def test_a_complete_job_may_be_deleted_while_others_are_waited_for():
    b = running_job("b")
    seen = [snapshot(complete_job("a"), b), snapshot(b), snapshot(complete_job("b"))]
    assert waited(["a", "b"], seen)[0] is ExitCode.SUCCESS


def test_waiting_outlives_an_outage_and_tells_of_a_suspended_job_once():
    suspended = snapshot(suspended_job("a"))
    seen = [suspended, Outage("no route"), suspended, snapshot(complete_job("a"))]
    code, used = waited(["a"], seen)
    assert code is ExitCode.SUCCESS
    assert told(used) == [
        "job 'a' is suspended and waits for `kubectl bij resume a`",
        "no route; trying again",
    ]


NOTES = {
    "one that another controller runs": (
        job_object("a", spec={"managedBy": "kueue.x-k8s.io/multikueue"}),
        ("job 'a' waits for the controller that spec.managedBy names; this operator lets it alone"),
    ),
    "one that is being deleted": (
        running_job("a", metadata={"deletionTimestamp": "2026-08-01T11:59:00Z"}),
        "job 'a' is being deleted and will not be complete; this waits until it is gone",
    ),
}


@pytest.mark.parametrize(("raw", "note"), NOTES.values(), ids=NOTES)
def test_waiting_says_once_what_it_waits_for(raw, note):
    code, used = waited(["a"], [snapshot(raw), snapshot(raw), snapshot(complete_job("a"))])
    assert code is ExitCode.SUCCESS
    assert told(used) == [note]


def test_a_cluster_without_the_kind_is_told_apart_from_a_wrong_name():
    calls = FakeCalls(refusal=NotFound("the server could not find the requested resource"))
    with pytest.raises(CommandFailed, match="has no BatchInferenceJobs: install"):
        waited(["a"], [snapshot()], calls=calls)


def test_suspending_says_what_stays():
    calls = FakeCalls(jobs=[running_job()])
    used = session(calls, flags=" -n scoring")
    assert suspension.run(used, "churn", suspend=True) is ExitCode.SUCCESS
    assert calls.suspended == [("churn", True)]
    assert printed(used) == [
        (
            "job 'churn' is being suspended: its pods are taken away. 12 of 20 shards are "
            "committed, stay, and are not scored again. Go on with: kubectl bij resume churn "
            "-n scoring"
        )
    ]


def test_resuming_says_what_is_not_done_again():
    calls = FakeCalls(jobs=[suspended_job()])
    used = session(calls)
    assert suspension.run(used, "churn", suspend=False) is ExitCode.SUCCESS
    assert calls.suspended == [("churn", False)]
    assert "goes on in a new run. 12 of 20 shards are committed" in printed(used)[0]


@pytest.mark.parametrize(
    ("raw", "suspend", "said"),
    [
        (suspended_job(), True, "is suspended already: nothing was changed"),
        (running_job(), False, "is not suspended: nothing was changed"),
    ],
)
def test_what_is_so_already_is_not_written(raw, suspend, said):
    calls = FakeCalls(jobs=[raw])
    used = session(calls)
    assert suspension.run(used, "churn", suspend=suspend) is ExitCode.SUCCESS
    assert calls.suspended == []
    assert said in printed(used)[0]


@pytest.mark.parametrize("suspend", [True, False])
@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (complete_job(), "is complete and cannot be .*another output"),
        (failed_job(), "has failed and cannot be .*the same output goes on"),
    ],
    ids=["complete", "failed"],
)
def test_a_finished_job_is_neither_suspended_nor_resumed(raw, said, suspend):
    calls = FakeCalls(jobs=[raw])
    with pytest.raises(CommandFailed, match=said):
        suspension.run(session(calls), "churn", suspend=suspend)
    assert calls.suspended == []


@pytest.mark.parametrize(
    ("metadata", "tool"),
    [
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "jobs"}}, "Flux"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "jobs:..."}}, "Argo CD"),
    ],
)
def test_who_would_set_it_back_is_named(metadata, tool):
    used = session(FakeCalls(jobs=[running_job(metadata=metadata)]))
    suspension.run(used, "churn", suspend=True)
    expected = f"{tool} manages this job and may set it back: change its source as well"
    assert told(used) == [expected]


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


def test_following_does_not_begin_without_an_answer():
    calls = Unwell(jobs=[running_job(status=SECOND_RUN)], pods=PODS[2:3], logs=LOGS)
    calls.refusals = {1: Unreachable("no route")}
    lines = logs.follow_lines(
        session(calls), "churn", Wanted(), tail=None, pause=lambda _seconds: None
    )
    with pytest.raises(Unreachable):
        next(lines)


def test_following_all_outlives_an_outage_before_the_first_line(monkeypatch):
    monkeypatch.setattr(logs.time, "sleep", lambda _seconds: None)
    calls = Unwell(jobs=[complete_job()], pods=PODS[:1], logs=LOGS)
    calls.refusals = {2: Unreachable("no route")}
    used = session(calls)
    assert logs.run(used, "churn", Wanted(index=None), follow=True, tail=None) is ExitCode.SUCCESS
    assert printed(used) == ["[0] first run"]
    assert told(used) == ["no route; trying again"]


def test_following_ends_when_the_rights_are_gone():
    calls = Unwell(jobs=[running_job(status=SECOND_RUN)], pods=PODS[2:3], logs=LOGS)
    calls.refusals = {2: Forbidden("no rights")}
    lines = logs.follow_lines(
        session(calls), "churn", Wanted(), tail=None, pause=lambda _seconds: None
    )
    with pytest.raises(Forbidden):
        list(lines)
