"""Which time limit was missed, and which was not though it looks so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ProgressReport, RowCounts, RunPhase
from batch_inference_operator.decide.plan import CreateCompanions, CreateRun
from batch_inference_operator.observation import RunJob, RunPod
from batch_inference_operator.settings import Settings
from testkit.observations import (
    NOW,
    SETTINGS,
    ago,
    condition,
    failure,
    instant,
    make_ended_pod,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    make_waiting_pod,
    named_run,
    observe,
    plan_for,
    running_status,
    stored,
)

ACTIVE = {"spec.activeDeadlineSeconds": 600}
BEFORE = {"spec.preRunningDeadlineSeconds": 600}
BETWEEN = {"spec.progressDeadlineSeconds": 600}
NO_NODE = "0/3 nodes are available"
STANDING = make_report(
    rows=RowCounts(total=1000, processed=500, written=500), rows_per_second=0
)  # fmt: skip

NOTHING_YET = make_report(rows=RowCounts(total=1000), rows_per_second=0)


def scored(seconds_ago: float, **changes: Any) -> dict[str, Any]:
    """A status by which a row was last scored so long ago."""
    status = running_status(startTime=instant(5000), **changes)
    status["progress"]["lastUpdatedTime"] = instant(seconds_ago)
    return status


def begun(seconds_ago: float, **changes: Any) -> RunJob:
    return make_run(created=ago(seconds_ago), started=ago(seconds_ago), **changes)


Case = tuple[dict[str, Any], dict[str, Any] | None, RunJob, RunPod, ProgressReport | None]

MISSED: dict[str, tuple[Case, str, str]] = {
    "a job that takes too long, and whose driver does not end it": (
        (ACTIVE, running_status(startTime=instant(630)), begun(630), make_pod(), make_report()),
        Reason.DEADLINE_EXCEEDED,
        "the job took longer than spec.activeDeadlineSeconds (600 s)",
    ),
    "all runs together that take too long": (
        (ACTIVE, running_status(startTime=instant(630)), begun(1), make_waiting_pod(), None),
        Reason.DEADLINE_EXCEEDED,
        "the job took longer than spec.activeDeadlineSeconds (600 s)",
    ),
    "a job whose status has no start yet": (
        (ACTIVE, None, begun(630), make_pod(), make_report()),
        Reason.DEADLINE_EXCEEDED,
        "the job took longer than spec.activeDeadlineSeconds (600 s)",
    ),
    "a run that takes too long though nobody can ask it": (
        (ACTIVE, running_status(startTime=instant(630)), begun(630), make_pod(), None),
        Reason.DEADLINE_EXCEEDED,
        "the job took longer than spec.activeDeadlineSeconds (600 s)",
    ),
    "pods without a node": (
        (BEFORE, None, begun(600), make_waiting_pod(unscheduled_message=NO_NODE), None),
        Reason.PRE_RUNNING_DEADLINE_EXCEEDED,
        f"the pods did not begin to score within 600 s: no node for 1 of 1 pods: {NO_NODE}",
    ),
    "a run that plans for too long": (
        (BEFORE, None, begun(600), make_pod(), make_report(RunPhase.PLANNING)),
        Reason.PRE_RUNNING_DEADLINE_EXCEEDED,
        "the pods did not begin to score within 600 s",
    ),
    "a run that scores no row any more": (
        (BETWEEN, scored(600), begun(5000), make_pod(), STANDING),
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        "no row was scored for 600 s",
    ),
    "a run that scored rows again, and no more": (
        (
            BETWEEN,
            scored(5000),
            begun(5000),
            make_pod(),
            STANDING.model_copy(update={"idle_seconds": 600, "rows_per_second": 3}),
        ),
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        "no row was scored for 600 s",
    ),
    "a run that has never scored a row": (
        (BETWEEN, None, begun(600), make_pod(), NOTHING_YET),
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        "no row was scored for 600 s",
    ),
    "a run whose first pod is not replaced": (
        (BETWEEN, scored(600), begun(5000), make_waiting_pod(unscheduled_message=NO_NODE), None),
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        f"no row was scored for 600 s: no node for 1 of 1 pods: {NO_NODE}",
    ),
    "a later run that does not get to score": (
        (BETWEEN, scored(5000, number=2), begun(600, number=2), make_waiting_pod(run=2), None),
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        "no row was scored for 600 s",
    ),
}

NOT_MISSED: dict[str, Case] = {
    "the driver has half a minute to end a job and leave a report": (
        ACTIVE,
        running_status(startTime=instant(629)),
        begun(629),
        make_pod(),
        make_report(),
    ),
    "pods that wait for a second less": (BEFORE, None, begun(599), make_waiting_pod(), None),
    "pods that a queue holds back, for whatever limit": (
        ACTIVE | BEFORE | BETWEEN,
        scored(5000),
        begun(5000, suspended=True),
        make_waiting_pod(),
        None,
    ),
    "a queue that let pods begin just now": (
        BEFORE,
        None,
        make_run(created=ago(5000), started=ago(10)),
        make_waiting_pod(),
        None,
    ),
    "a run that scores is not held to the limit before it": (
        BEFORE,
        None,
        begun(5000),
        make_pod(),
        make_report(),
    ),
    "a later run may wait: an earlier one has scored": (
        BEFORE,
        running_status(number=2),
        begun(5000, number=2),
        make_waiting_pod(run=2),
        None,
    ),
    "a run of which nobody knows whether it has begun": (
        BEFORE,
        None,
        begun(5000),
        make_pod(),
        None,
    ),
    "a run of which nobody knows whether it scores": (
        BETWEEN,
        scored(5000),
        begun(5000),
        make_pod(),
        None,
    ),
    "rows that were scored since the status was written": (
        BETWEEN,
        scored(5000),
        begun(5000),
        make_pod(),
        make_report(),
    ),
    "rows that are scored again after a restart, so that no count rises": (
        BETWEEN,
        scored(5000),
        begun(5000),
        make_pod(),
        make_report(rows=RowCounts(total=1000, processed=300, written=300), rows_per_second=3),
    ),
    "rows that are scored again, so slowly that the rate is none": (
        BETWEEN,
        scored(5000),
        begun(5000),
        make_pod(),
        STANDING.model_copy(update={"idle_seconds": 599}),
    ),
    "files that are published: no rows are scored then": (
        BETWEEN,
        scored(5000),
        begun(5000),
        make_pod(),
        STANDING.model_copy(update={"phase": RunPhase.FINALIZING}),
    ),
    "success that its pod has not told yet": (
        BETWEEN,
        scored(5000),
        begun(5000),
        make_pod(),
        make_success(rows_per_second=None),
    ),
    "progress of a second less ago": (BETWEEN, scored(599), begun(5000), make_pod(), STANDING),
    "a run that has not begun to score is not held to the limit between rows": (
        BETWEEN,
        None,
        begun(5000),
        make_pod(),
        make_report(RunPhase.PLANNING, rows=RowCounts()),
    ),
    "a later run that has just begun": (
        BETWEEN,
        scored(5000, number=2),
        begun(599, number=2),
        make_waiting_pod(run=2),
        None,
    ),
    "no limit": ({}, scored(5000), begun(5000), make_waiting_pod(), None),
}


@pytest.mark.parametrize(("case", "reason", "message"), MISSED.values(), ids=MISSED)
def test_a_missed_limit_ends_the_job(case: Case, reason: str, message: str) -> None:
    changes, status, run, pod, report = case

    plan = plan_for(make_record(changes, status=status), observe(run, pod, report))

    assert failure(plan.status) == (reason, message)
    assert plan.is_urgent
    assert plan.actions == (), "what is deleted first may be begun again, should we be interrupted"


@pytest.mark.parametrize("case", NOT_MISSED.values(), ids=NOT_MISSED)
def test_a_limit_is_not_missed_where_it_does_not_apply(case: Case) -> None:
    changes, status, run, pod, report = case
    record = make_record(changes, status=status)

    plan = plan_for(record, observe(run, pod, report, unreachable_seconds=0 if report else 900))

    assert condition(plan.status, "Reconciling").status == "True"


def test_a_run_that_has_begun_stays_begun_when_its_first_pod_is_replaced_before_the_first_row():
    record = make_record(BEFORE)
    record = stored(record, plan_for(record, observe(begun(599), make_pod(), NOTHING_YET)).status)

    for _ in range(2):
        plan = plan_for(record, observe(begun(601), make_ended_pod(137)))
        assert plan.status.phase == "Pending"
        record = stored(record, plan.status)


@pytest.mark.parametrize(
    "report",
    [
        STANDING.model_copy(update={"phase": RunPhase.FINALIZING}),
        STANDING.model_copy(update={"idle_seconds": 1}),
    ],
    ids=["it published", "it scored again what was counted before"],
)
def test_a_first_pod_that_is_lost_is_not_blamed_for_how_it_got_on(report) -> None:
    record = make_record(BETWEEN, status=scored(5000))
    run = begun(5000)
    record = stored(record, plan_for(record, observe(run, make_pod(), report)).status)

    plan = plan_for(record, observe(run, make_ended_pod(137)))

    assert plan.status.phase == "Pending"


def test_the_last_counts_are_kept_when_a_limit_is_missed() -> None:
    record = make_record(ACTIVE, status=running_status(startTime=instant(630)))

    status = plan_for(record, observe(begun(630), make_pod(), make_report())).status

    assert status.progress.rows_processed == 600


@pytest.mark.parametrize(
    ("setting", "case"),
    [
        ("pre_running_deadline_seconds", (None, begun(50), make_waiting_pod(), None)),
        ("progress_deadline_seconds", (scored(50), begun(5000), make_pod(), STANDING)),
    ],
)
def test_the_platform_sets_limits_for_jobs_that_have_none(setting: str, case: Any) -> None:
    status, *parts = case
    settings = Settings(**{setting: 50})

    plan = plan_for(make_record(status=status), observe(*parts), settings=settings)

    assert plan.status.phase == "Failed"


def test_a_job_has_its_own_limit_whatever_the_platform_sets() -> None:
    settings = Settings(pre_running_deadline_seconds=50)

    plan = plan_for(make_record(BEFORE), observe(begun(60), make_waiting_pod()), settings=settings)

    assert plan.status.phase != "Failed"


def test_it_is_looked_again_when_a_limit_may_be_missed() -> None:
    record = make_record(BEFORE, status={"run": named_run()})

    plan = plan_for(record, observe(begun(597), make_waiting_pod()))

    assert plan.look_again_seconds == 3


REMAINING = {
    "no limit": (None, None, None),
    "a job that has not begun has all of it": (600, None, 600),
    "a job that began has the rest": (600, running_status(startTime=instant(100)), 500),
    "a status whose start cannot be read": (600, running_status(startTime="yesterday"), 600),
}


@pytest.mark.parametrize(("limit", "status", "left"), REMAINING.values(), ids=REMAINING)
def test_the_next_run_gets_what_is_left_of_the_active_deadline(limit, status, left) -> None:
    changes = {} if limit is None else {"spec.activeDeadlineSeconds": limit}

    (create,) = plan_for(make_record(changes, status=status), observe()).actions

    assert isinstance(create, CreateRun)
    assert create.deadline_seconds == left


def test_the_config_of_a_run_that_waited_for_it_says_what_is_left_since_the_run_began() -> None:
    (create,) = plan_for(make_record(ACTIVE), observe(make_run())).actions

    assert isinstance(create, CreateCompanions)
    assert create.deadline_seconds == 540


def test_no_run_begins_when_nothing_is_left() -> None:
    record = make_record(ACTIVE, status=running_status(startTime=instant(600)))

    plan = plan_for(record, observe())

    assert plan.actions == ()
    assert failure(plan.status) == (
        "DeadlineExceeded",
        "the job took longer than spec.activeDeadlineSeconds (600 s)",
    )


def test_a_limit_of_decades_can_be_reckoned_with() -> None:
    limits = dict.fromkeys((*ACTIVE, *BEFORE, *BETWEEN), 2_147_483_647)
    status = running_status(startTime="9999-12-31T23:59:59Z")

    plan = plan_for(
        make_record(limits, status=status),
        observe(make_run(), make_pod(), STANDING),
        now=NOW + timedelta(days=1),
        settings=SETTINGS,
    )

    assert plan.status.phase == "Running"
