"""The page of `kubectl bij status`, for every state that a job can have."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.v1alpha1.status import Phase
from batch_inference_operator.cluster.api import Forbidden
from batch_inference_operator.decide.conditions import State as Conditions
from batch_inference_operator.decide.record import format_time, read_record
from batch_inference_operator.kubectl_bij import status
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.standing import Standing, State, find_standing
from testkit.bij_sessions import (
    HALF_WAY,
    NOW,
    UID,
    FakeCalls,
    complete_job,
    failed_job,
    job_object,
    printed,
    running_job,
    session,
    suspended_job,
    told,
)

OUTPUT = {
    "storageUri": "s3://lake/scores/",
    "manifestUri": "s3://lake/scores/_SUCCESS",
    "rejectsUri": "s3://lake/scores/_rejects/",
    "files": 20,
    "bytes": 81_234_567,
}
REJECTS = {
    "completionStats": {"successfulCount": 988, "failedCount": 12, "filteredCount": 3},
    "output": OUTPUT,
    "partialFailures": [
        {
            "file": "s3://lake/customers/part-1.parquet",
            "row": 41,
            "stage": "Bind",
            "error": "NullInput",
            "message": "column 'age' is null",
        }
    ],
}


def in_phase(phase: Phase, message: str, **changes):
    return job_object(phase=phase, state=Conditions.IN_PROGRESS, message=message, **changes)


STATES = {
    "a job that the operator has not seen": (
        job_object(),
        State.UNSEEN,
        ["scoring/churn  New  created 10m ago", "has not looked at the job", "--all-namespaces"],
    ),
    "a job that another controller runs": (
        job_object(spec={"managedBy": "kueue.x-k8s.io/multikueue"}),
        State.ELSEWHERE,
        ["Elsewhere", "Ask the controller that spec.managedBy names"],
    ),
    "pending": (
        in_phase(Phase.PENDING, "the job's pods are about to be created"),
        State.IN_PROGRESS,
        ["Pending", "about to be created", "Nothing: it goes on.", "kubectl bij watch churn"],
    ),
    "pending with a trouble": (
        in_phase(Phase.PENDING, "no node for 2 of 4 pods: 0/3 nodes", reason="Unschedulable"),
        State.IN_PROGRESS,
        ["Unschedulable: no node for 2 of 4 pods", "Ask for less", "kubectl get pods -l"],
    ),
    "queued": (
        in_phase(Phase.QUEUED, "the job waits in its queue to be admitted"),
        State.IN_PROGRESS,
        ["Queued", "waits in its queue"],
    ),
    "starting": (
        in_phase(Phase.STARTING, "the pods start, and the run is planned"),
        State.IN_PROGRESS,
        ["Starting", "the run is planned", "kubectl bij logs churn -f"],
    ),
    "running": (
        running_job(),
        State.IN_PROGRESS,
        [
            (
                "[##################------------] 61 %  12,200,000/20,000,000 rows  48,210 rows/s  "
                "2m42s left  12 rejected  workers 3/4"
            ),
            "12,199,988 written, 12 rejected, 0 filtered out, 7,800,000 to go",
            "12 of 20 committed, 3 active, 5 pending",
            "3 of 4 ready",
            "1, Job churn-ab12cd",
            "began 2026-08-01 11:53:48 UTC, so far 6m12s",
            "CPUExecutionProvider, 2,048 rows a call",
            "kubectl bij suspend churn",
        ],
    ),
    "running without any row for a while": (
        running_job(
            status={
                **HALF_WAY,
                "progress": {"lastUpdatedTime": format_time(NOW - timedelta(minutes=7))},
            }
        ),
        State.IN_PROGRESS,
        ["No row was scored for 7m."],
    ),
    "running with a trouble": (
        running_job(reason="HeadOOMKilled", message="pod churn-ab12cd-0-x was killed"),
        State.IN_PROGRESS,
        ["HeadOOMKilled: pod churn-ab12cd-0-x was killed", "ran out of memory", "Suspend the job"],
    ),
    "finalizing": (
        in_phase(Phase.FINALIZING, "all rows are scored; the manifest is written"),
        State.IN_PROGRESS,
        ["Finalizing", "the manifest is written"],
    ),
    "being suspended": (
        running_job(reason="Suspending", message="waiting for the pods to end"),
        State.IN_PROGRESS,
        ["Suspending: waiting for the pods to end"],
    ),
    "suspended": (
        suspended_job(),
        State.SUSPENDED,
        ["Suspended  3m ago", "Resume it when it should go on", "kubectl bij resume churn"],
    ),
    "edited since the operator looked": (
        running_job(metadata={"generation": 2}),
        State.IN_PROGRESS,
        ["Edited      The spec was changed; the operator is about to look at it."],
    ),
    "being deleted": (
        running_job(metadata={"deletionTimestamp": format_time(NOW)}),
        State.DELETING,
        ["Deleting", "its pods go with it", "goes on from what is committed"],
    ),
    "complete": (
        complete_job(),
        State.COMPLETE,
        ["Succeeded  3m ago", "19999988 rows written", "Read the output"],
    ),
    "complete with rejects": (
        job_object(
            phase=Phase.SUCCEEDED,
            state=Conditions.COMPLETE,
            reason="Succeeded",
            message="988 rows written, 12 rejected",
            status=REJECTS,
        ),
        State.COMPLETE,
        [
            "12 rows are in the rejects",
            "s3://lake/scores/, 20 files, 77.5 MiB",
            "Manifest    s3://lake/scores/_SUCCESS",
            "Rejects     s3://lake/scores/_rejects/",
            "Rejected rows (1 of 12)",
            "s3://lake/customers/part-1.parquet, row 41",
            "NullInput: column 'age' is null (in Bind)",
            "bij verify s3://lake/scores/",
        ],
    ),
    "failed": (
        failed_job(),
        State.FAILED,
        [
            "Failed  3m ago",
            "SchemaMismatch: column 'age' is missing",
            "Meaning     Columns are missing",
            "Compare the columns in the message",
            "kubectl bij logs churn",
        ],
    ),
    "with a spec of another release": (
        job_object(
            phase=Phase.RUNNING,
            state=Conditions.IN_PROGRESS,
            reason="VersionSkew",
            message="this operator cannot read the spec",
            spec={"input": {"fromTomorrow": True}},
        ),
        State.IN_PROGRESS,
        ["VersionSkew: this operator cannot read the spec", "Go on with the release"],
    ),
}


def page_of(raw, **changes) -> list[str]:
    used = session(FakeCalls(jobs=[raw], **changes))
    assert status.run(used, "churn", output="text") is ExitCode.SUCCESS
    return printed(used)


@pytest.mark.parametrize(("raw", "state", "said"), STATES.values(), ids=STATES)
def test_the_page_says_where_a_job_stands_and_what_to_do(raw, state, said):
    lines = page_of(raw)
    page = "\n".join(lines)
    assert find_standing(read_record(raw)).state is state
    assert [words for words in said if words not in page] == []
    assert "What to do" in page
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_comes_with_its_meaning_and_advice(reason):
    page = "\n".join(page_of(failed_job(reason=reason)))
    assert f"Why         {reason}: column 'age' is missing" in page
    assert "\nMeaning     " in page


RESUMES = ("ErrorThresholdExceeded", "DeadlineExceeded", "AccessDenied", "OutputVolumeFull")
STARTS_ANEW = (
    "OutputPathClaimed", "RowRejected", "OutputExists", "InputChanged", "ModelDigestMismatch",
    "VersionSkew", "SchemaMismatch", "NoSuchReason",
)  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "resumes"),
    [*((reason, True) for reason in RESUMES), *((reason, False) for reason in STARTS_ANEW)],
)
def test_a_failed_job_is_run_again_under_its_own_name_and_resumes_only_if_its_reason_says_so(
    reason, resumes
):
    page = " ".join(" ".join(page_of(failed_job(reason=reason))).split())
    again = "To run a job again, delete it, change its manifest, and apply it under the same name."
    assert page.count(again) == 1
    assert page.count("same name") == 1
    assert "is not scored again" not in page
    assert ("it resumes" in page) is resumes


def test_a_standing_is_read_from_the_conditions():
    assert find_standing(read_record(failed_job())) == Standing(
        state=State.FAILED,
        word="Failed",
        reason="SchemaMismatch",
        message="column 'age' is missing",
        since=NOW - timedelta(minutes=3),
    )


def test_an_edit_of_a_finished_job_changes_nothing():
    raw = complete_job()
    raw["metadata"]["generation"] = 5
    assert not find_standing(read_record(raw)).is_behind


def test_text_of_others_cannot_steer_the_terminal():
    raw = job_object(
        phase=Phase.FAILED,
        state=Conditions.FAILED,
        reason="InputNotFound",
        message="no file \x1b[2J\x07here\nnow",
        status={"partialFailures": [{"file": "\x1b]0;x\x07.csv", "row": 1, "error": "\x1b[1m"}]},
    )
    page = "\n".join(page_of(raw))
    assert "\x1b" not in page
    assert "\x07" not in page
    assert r"\x1b]0;x\x07.csv, row 1" in page


def event(minutes_ago: int, reason: str, **fields):
    seen = format_time(NOW - timedelta(minutes=minutes_ago))
    return {"metadata": {}, "lastTimestamp": seen, "reason": reason, "message": "said", **fields}


def test_the_latest_events_come_first():
    events = [event(minutes, f"Event{minutes}") for minutes in range(20, 5, -1)]
    lines = page_of(running_job(), events=[*events, event(1, "RunStarted", count=3)])
    shown = lines[lines.index("Recent events") + 1 : lines.index("Try next") - 1]
    assert shown[0].split() == ["1m", "ago", "RunStarted", "said", "(3", "times)"]
    assert [line.split()[2] for line in shown[1:]] == [f"Event{n}" for n in range(6, 13)]


def test_without_the_right_to_read_events_the_page_is_there_all_the_same():
    class Calls(FakeCalls):
        def list_events(self, uid):
            assert uid == UID
            raise Forbidden("events is forbidden")

    used = session(Calls(jobs=[running_job()]))
    assert status.run(used, "churn", output="text") is ExitCode.SUCCESS
    assert told(used) == ["events cannot be read: events is forbidden"]


def test_as_json_it_is_one_document():
    raw = failed_job()
    used = session(FakeCalls(jobs=[raw], events=[event(2, "SchemaMismatch", type="Warning")]))
    status.run(used, "churn", output="json")
    document = json.loads("\n".join(printed(used)))
    assert document["advice"].startswith("Compare the columns")
    assert document["status"] == raw["status"]
    assert {key: document[key] for key in ("namespace", "name", "state", "phase", "reason")} == {
        "namespace": "scoring",
        "name": "churn",
        "state": "Failed",
        "phase": "Failed",
        "reason": "SchemaMismatch",
    }
    assert document["since"] == format_time(NOW - timedelta(minutes=3))
    assert document["events"] == [
        {
            "lastTime": format_time(NOW - timedelta(minutes=2)),
            "type": "Warning",
            "reason": "SchemaMismatch",
            "message": "said",
            "count": 1,
        }
    ]


def test_commands_to_try_lead_to_the_same_cluster():
    used = session(FakeCalls(jobs=[suspended_job()]), flags=" -n scoring --context prod")
    status.run(used, "churn", output="text")
    assert printed(used)[-1] == "  kubectl bij resume churn -n scoring --context prod"


def test_a_slip_in_the_name_is_corrected():
    used = session(FakeCalls(jobs=[running_job()]))
    with pytest.raises(CommandFailed, match=r"no job 'chrun' in .* did you mean 'churn'"):
        status.run(used, "chrun", output="text")


def test_a_name_that_resembles_none_comes_with_a_way_to_find_it():
    used = session(FakeCalls(jobs=[running_job()]))
    with pytest.raises(CommandFailed, match="kubectl get bij --all-namespaces"):
        status.run(used, "xyz", output="text")
