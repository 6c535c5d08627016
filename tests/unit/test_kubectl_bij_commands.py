"""What can be typed, exit codes, waiting and suspending."""

from __future__ import annotations

import pytest

from batch_inference_operator.cluster.api import NotFound
from batch_inference_operator.durations import parse_duration
from batch_inference_operator.kubectl_bij import suspension
from batch_inference_operator.kubectl_bij.arguments import parse
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.feed import Outage
from batch_inference_operator.kubectl_bij.wait import Waiter
from testkit.bij_sessions import (
    FakeCalls,
    ScriptedFeed,
    complete_job,
    failed_job,
    job_object,
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


FLAGS_BEFORE = {
    "a namespace": (["-n", "scoring", "status", "churn"], " -n scoring"),
    "a namespace in one word": (["--namespace=scoring", "watch"], " -n scoring"),
    "all of them": (
        ["--kubeconfig", "f", "--context", "c", "-n", "a", "suspend", "churn"],
        " -n a --context c --kubeconfig f",
    ),
    "some before, some behind": (
        ["--context", "c", "logs", "churn", "-n", "a"],
        " -n a --context c",
    ),
    "the same on both sides": (["-n", "a", "wait", "churn", "-n", "b"], " -n b"),
}


@pytest.mark.parametrize(("argv", "flags"), FLAGS_BEFORE.values(), ids=FLAGS_BEFORE)
def test_flags_of_kubectl_may_come_before_the_command(argv, flags):
    assert parse(argv).flags == flags


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
        "job 'a' waits for the controller that spec.managedBy names; this operator leaves it alone",
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
        (failed_job(), "has failed and cannot be .*delete it and apply .* under the same name"),
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
