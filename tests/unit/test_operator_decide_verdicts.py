"""How a run ended: index 0's exit code and report decide, the Job's own end only without them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_operator.decide.verdict import (
    Failed,
    Succeeded,
    Unsettled,
    describe_end,
    judge,
)
from batch_inference_operator.observation import JobEnd
from testkit.observations import (
    ago,
    condition,
    failure,
    instant,
    make_ended_pod,
    make_ended_run,
    make_failure,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    observe,
    plan_for,
    running_status,
    status_for,
    true_conditions,
    why,
)

SUCCESS = make_success()
FAILURE = make_failure(Reason.SCHEMA_MISMATCH, "column 'age' is missing")
INTERRUPTED = make_report(RunPhase.INTERRUPTED, final=True)
MID_RUN = make_report(RunPhase.SUCCEEDED)

DECIDED_BY_INDEX_0 = {
    "exit 0 with a report of success is success": (0, "", SUCCESS, Succeeded),
    "exit 0 with reason OOMKilled is success": (0, "OOMKilled", SUCCESS, Succeeded),
    "exit 64, the first permanent code, with a report is failure": (64, "", FAILURE, Failed),
    "exit 65, within them, with a report is failure": (65, "", FAILURE, Failed),
    "exit 79, the last permanent code, with a report is failure": (79, "", FAILURE, Failed),
}  # fmt: skip
NOT_DECIDED_BY_INDEX_0 = {
    "exit 0 without a report says nothing": (0, "", None),
    "exit 0 with a report of failure says nothing": (0, "", FAILURE),
    "exit 0 with a report that is not final says nothing": (0, "", MID_RUN),
    "exit 0 with a report of interruption says nothing": (0, "", INTERRUPTED),
    "exit 1 with a report of failure may be tried again": (1, "", FAILURE),
    "exit 1 with a report of success says nothing": (1, "", SUCCESS),
    "exit 63 is not permanent": (63, "", FAILURE),
    "exit 65 without a report says nothing": (65, "", None),
    "exit 70 with a report of success says nothing": (70, "", SUCCESS),
    "exit 80 is not permanent": (80, "", FAILURE),
    "exit 137 with a report of success says nothing": (137, "OOMKilled", SUCCESS),
    "exit 143 is an interruption": (143, "", INTERRUPTED),
}
ENDS = {
    "while the Job goes on": (make_run(), None),
    "after Complete": (make_ended_run(JobEnd.COMPLETE), Unsettled),
    "after FailJob": (make_ended_run(JobEnd.FAILED, "PodFailurePolicy"), Unsettled),
    "after BackoffLimitExceeded": (make_ended_run(JobEnd.FAILED, "BackoffLimitExceeded"), Failed),
    "after DeadlineExceeded": (make_ended_run(JobEnd.FAILED, "DeadlineExceeded"), Failed),
}


@pytest.mark.parametrize("run", [run for run, _ in ENDS.values()], ids=ENDS)
@pytest.mark.parametrize(
    ("code", "reason", "report", "verdict"), DECIDED_BY_INDEX_0.values(), ids=DECIDED_BY_INDEX_0
)
def test_index_0_decides_whatever_the_job_says(code, reason, report, verdict, run):
    found = judge(run, observe(run, make_ended_pod(code, report, reason=reason)))

    assert isinstance(found, verdict)
    assert found.report == report


@pytest.mark.parametrize(("run", "verdict"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize(
    ("code", "reason", "report"), NOT_DECIDED_BY_INDEX_0.values(), ids=NOT_DECIDED_BY_INDEX_0
)
def test_without_a_word_of_index_0_the_end_of_the_job_decides(code, reason, report, run, verdict):
    found = judge(run, observe(run, make_ended_pod(code, report, reason=reason)))

    assert found is None if verdict is None else isinstance(found, verdict)


@pytest.mark.parametrize("code", [70, 1])
def test_a_claim_is_named_in_a_message_as_in_the_manifest(code):
    report = make_failure(Reason.OUTPUT_EXISTS, "'file:///pvc/scoring/out/' already holds 'x'")

    pod = make_ended_pod(code, report)
    verdict = judge(make_run(), observe(pod))

    said = describe_end(pod) if verdict is None else verdict.message
    assert "'pvc://scoring/out/' already holds 'x'" in said


def test_a_job_that_is_complete_with_nothing_finished_is_not_complete():
    run = make_ended_run(JobEnd.COMPLETE)

    verdict = judge(run, observe(run))

    assert verdict == Unsettled(
        reason=Reason.REPORT_MISSING, message="run 1 ended without a report"
    )


def test_an_earlier_pod_of_index_0_may_have_finished_the_run():
    done = make_ended_pod(0, SUCCESS)
    replaced = make_pod(0, name="later", created=done.created.replace(hour=12))

    assert judge(make_run(), observe(done, replaced)) == Succeeded(report=SUCCESS, pod_uid=done.uid)


def test_a_worker_cannot_end_a_run():
    assert judge(make_run(), observe(make_ended_pod(0, SUCCESS, index=1))) is None


def test_pods_of_another_run_do_not_count():
    assert judge(make_run(2), observe(make_ended_pod(0, SUCCESS))) is None


WORDS_FOR_AN_END = {
    "an exit code and what the pod left": (
        make_ended_pod(1, message="Traceback: no module\n"),
        "; pod churn-run-1-0 ended with exit code 1: Traceback: no module",
    ),
    "the kubelet's word": (
        make_ended_pod(137, reason="OOMKilled"),
        (
            "; pod churn-run-1-0 ended with exit code 137 (OOMKilled): raise "
            "spec.workers.resources.limits.memory or lower spec.batching.batchSize"
        ),
    ),
    "an ordinary error needs no word": (
        make_ended_pod(1, reason="Error"),
        "; pod churn-run-1-0 ended with exit code 1",
    ),
    "what a report says that does not count": (
        make_ended_pod(1, make_failure(None, "the store is away")),
        "; pod churn-run-1-0 ended with exit code 1: the store is away",
    ),
    "a pod that failed as a whole": (
        make_pod(phase="Failed", failure_reason="Evicted", failure_message="node low on memory"),
        "; pod churn-run-1-0: Evicted: node low on memory",
    ),
    "a pod that failed without a word": (
        make_pod(phase="Failed", failure_reason="Shutdown"),
        "; pod churn-run-1-0: Shutdown",
    ),
    "a pod whose runner never ran": (
        make_pod(phase="Failed", init_failure="init container mesh ended with exit code 1"),
        "; pod churn-run-1-0: init container mesh ended with exit code 1",
    ),
    "a pod of which nothing is known": (
        make_pod(phase="Unknown"),
        "; pod churn-run-1-0 is Unknown",
    ),
    "no pod at all": (None, ""),
}


@pytest.mark.parametrize(("pod", "words"), WORDS_FOR_AN_END.values(), ids=WORDS_FOR_AN_END)
def test_the_message_says_how_the_last_pod_ended(pod, words):
    run = make_ended_run(JobEnd.FAILED, "BackoffLimitExceeded")

    status = status_for(make_record(), observe(run, pod))

    assert failure(status) == (
        Reason.BACKOFF_LIMIT_EXCEEDED,
        f"more pods failed than spec.backoffLimit allows{words}",
    )


OOM_KILLED = make_ended_pod(137, reason="OOMKilled", index=1, created=ago(90))
LATER = make_ended_pod(1, message="no such device", index=1)
BLAMED = {
    "a worker, where its end has ended the first pod": (
        (make_ended_pod(143, created=ago(10)), LATER),
        LATER,
    ),
    "a worker, where the first pod is there no more": ((LATER,), LATER),
    "the pod that lacked memory, though another ended later": ((OOM_KILLED, LATER), OOM_KILLED),
    "nobody who was driven away": (
        (OOM_KILLED, replace(LATER, disruption="EvictionByEvictionAPI")),
        OOM_KILLED,
    ),
}


@pytest.mark.parametrize(("pods", "blamed"), BLAMED.values(), ids=BLAMED)
def test_the_message_is_about_the_pod_that_tells_most(pods, blamed):
    run = make_ended_run(JobEnd.FAILED, "BackoffLimitExceeded")

    _, message = failure(status_for(make_record(), observe(run, *pods)))

    assert message.endswith(f"; {describe_end(blamed)}")


def test_success_is_told_at_once_without_waiting_for_the_job():
    plan = plan_for(make_record(), observe(make_run(), make_ended_pod(0, SUCCESS)))

    assert plan.actions == ()
    assert plan.is_urgent
    assert true_conditions(plan.status) == {
        "Complete",
        "InputsResolved",
        "ModelVerified",
        "SchemaValid",
    }
    assert condition(plan.status, "Complete").message == "997 rows written, 3 rejected"


def test_failure_has_the_reason_and_the_message_of_the_report():
    plan = plan_for(make_record(), observe(make_run(), make_ended_pod(65, FAILURE)))

    assert plan.actions == ()
    assert true_conditions(plan.status) == {"Failed", "Stalled"}
    assert failure(plan.status) == ("SchemaMismatch", "column 'age' is missing")


@pytest.mark.parametrize("reason", [None, "", "two words", "x" * 2000, "no/slash", "a\n"])
def test_a_report_whose_reason_is_no_reason_still_ends_the_job(reason):
    status = status_for(
        make_record(), observe(make_run(), make_ended_pod(70, make_failure(reason)))
    )

    assert failure(status)[0] == Reason.REPORT_MISSING


def test_a_reason_of_another_release_is_passed_on():
    report = make_failure("QuantumFlux", "flux")

    status = status_for(make_record(), observe(make_run(), make_ended_pod(70, report)))

    assert failure(status)[0] == "QuantumFlux"


def test_a_run_that_ended_while_no_operator_looked_is_told_as_a_whole():
    """The status never named the run, and knows it now, and when the job began."""
    status = status_for(make_record(), observe(make_run(), make_ended_pod(0, SUCCESS)))

    assert status.run.number == 1
    assert status.start_time == instant(60)
    assert status.duration == "1m"


OVER_TIME = make_failure(Reason.DEADLINE_EXCEEDED, "out of time")
DEADLINES = {
    "as it was: the job failed": (60, True),
    "raised by seconds that clocks may differ by: the job failed": (100, True),
    "raised: the next run has more time": (3600, False),
    "taken away: the next run has all the time": (None, False),
}


@pytest.mark.parametrize(
    "pod",
    [make_ended_pod(70, OVER_TIME), make_pod()],
    ids=["told by the driver", "told by the Job controller"],
)
@pytest.mark.parametrize("is_known", [True, False], ids=["a run that is known", "an unknown run"])
@pytest.mark.parametrize(("deadline", "fails"), DEADLINES.values(), ids=DEADLINES)
def test_a_deadline_that_was_raised_meanwhile_is_not_missed(deadline, fails, is_known, pod):
    record = make_record(
        {} if deadline is None else {"spec.activeDeadlineSeconds": deadline},
        status=running_status() if is_known else None,
    )
    run = make_ended_run(JobEnd.FAILED, "DeadlineExceeded")

    plan = plan_for(record, observe(run, pod))

    if fails:
        assert plan.actions == ()
        assert failure(plan.status)[0] == Reason.DEADLINE_EXCEEDED
    else:
        assert why(plan.status) == (
            "DeadlineExceeded",
            (
                "spec.activeDeadlineSeconds was raised since run 1 began, and ended by it; the "
                "next run begins"
            ),
        )


@pytest.mark.parametrize(("limit", "fails"), [(6, True), (5, True), (7, False)])
def test_a_backoff_limit_that_was_raised_meanwhile_does_not_end_the_job(limit, fails):
    record = make_record({"spec.backoffLimit": limit}, status=running_status())
    run = make_ended_run(JobEnd.FAILED, "BackoffLimitExceeded", backoff_limit=6)

    status = status_for(record, observe(run, make_ended_pod(1)))

    assert ("Failed" in true_conditions(status)) is fails
    assert fails or why(status) == (
        "BackoffLimitExceeded",
        "spec.backoffLimit was raised since run 1 began, and ended by it; the next run begins",
    )


def test_a_job_ended_when_its_pod_ended_not_when_somebody_looked():
    pod = make_ended_pod(0, make_success())
    end = replace(pod.termination, finished=ago(7200))

    status = status_for(make_record(), observe(make_run(), replace(pod, termination=end)))

    assert status.completion_time == instant(7200)
