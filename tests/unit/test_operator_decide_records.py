"""The job as it is stored: what can be read is read, and what cannot ends nothing by accident."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from batch_inference_operator.decide.plan import DeleteRun
from batch_inference_operator.decide.record import format_time, parse_time, read_record
from testkit.observations import (
    condition,
    failure,
    finished_status,
    make_ended_pod,
    make_pod,
    make_record,
    make_run,
    make_success,
    named_run,
    observe,
    plan_for,
    running_status,
    status_for,
    stored,
    true_conditions,
    why,
)
from testkit.operator_jobs import make_stored_manifest

NEWER = {
    "an unknown field": {"spec.quantum": {"qubits": 3}},
    "an unknown field of a part": {"spec.output.tableFormat": "Iceberg"},
    "a choice that is not known": {"spec.input.format": "Images"},
    "an unknown field beside a mistake": {"spec.quantum": 1, "spec.backoffLimit": -1},
}
INVALID = {
    "two volumes of one name": (
        {"spec.workers.volumes": [{"name": "v", "emptyDir": {}}] * 2},
        "spec.workers.volumes: volume 'v' is there twice",
    ),
    "two sources of one column": (
        {"spec.postprocessing": {"columns": [{"name": "a", "expression": "1"}] * 2}},
        "spec.postprocessing.columns: column 'a' is computed twice (case does not count)",
    ),
}


@pytest.mark.parametrize(("changes", "problem"), INVALID.values(), ids=INVALID)
def test_a_spec_that_contradicts_itself_ends_the_job(changes, problem):
    plan = plan_for(make_record(changes), observe())

    assert plan.actions == ()
    assert plan.is_urgent
    assert failure(plan.status) == ("InvalidSpec", problem)


@pytest.mark.parametrize("changes", NEWER.values(), ids=NEWER)
def test_a_spec_of_a_newer_release_is_left_to_a_newer_operator(changes):
    plan = plan_for(make_record(changes), observe())

    assert plan.actions == ()
    assert true_conditions(plan.status) == {"Reconciling"}
    reason, message = why(plan.status)
    assert reason == "VersionSkew"
    assert message.startswith("this operator cannot read the spec and leaves the job as it is: ")
    assert message.endswith("; use an operator and a CRD of one release")


@pytest.mark.parametrize(
    "changes", [*NEWER.values(), *(changes for changes, _ in INVALID.values())]
)
def test_a_spec_that_cannot_be_read_any_more_costs_a_running_job_nothing(changes):
    """The operator was set back in mid-run, or the CRD was: the pods go on."""
    record = make_record(changes, status=running_status())

    plan = plan_for(record, observe(make_run(), make_pod()))

    assert plan.actions == ()
    assert true_conditions(plan.status) == {"Reconciling"}
    assert plan.status.progress == record.status.progress
    assert plan.status.run == record.status.run


@pytest.mark.parametrize(
    "changes", [*NEWER.values(), *(changes for changes, _ in INVALID.values())]
)
def test_a_run_that_ends_well_has_ended_well_whatever_became_of_the_spec(changes):
    record = make_record(changes, status=running_status())

    plan = plan_for(record, observe(make_run(), make_ended_pod(0, make_success())))

    assert true_conditions(plan.status) >= {"Complete"}


@pytest.mark.parametrize(("changes", "problem"), INVALID.values(), ids=INVALID)
def test_a_spec_that_was_made_wrong_between_two_runs_says_how_to_go_on(changes, problem):
    """It was changed while the job was suspended, and the run before it is gone."""
    reason, message = why(status_for(make_record(changes, status={"run": named_run()}), observe()))

    assert reason == "InvalidSpec"
    assert problem in message
    assert message.endswith("; suspend the job, correct the spec, and resume it")


@pytest.mark.parametrize(
    "changes", [INVALID["two volumes of one name"][0], NEWER["an unknown field"]]
)
def test_a_job_whose_spec_cannot_be_read_is_suspended_all_the_same(changes):
    record = make_record({**changes, "spec.suspend": True}, status=running_status())

    plan = plan_for(record, observe(make_run(), make_pod()))

    assert [type(action) for action in plan.actions] == [DeleteRun]
    status = plan_for(record, observe()).status
    assert status.phase == "Suspended"
    assert "correct the spec before it goes on: spec." in condition(status, "Suspended").message


def test_a_job_that_is_resumed_with_a_spec_that_cannot_be_read_is_not_suspended_any_more():
    changes, _ = INVALID["two volumes of one name"]
    suspended = make_record({**changes, "spec.suspend": True}, status=running_status())
    resumed = stored(make_record(changes), status_for(suspended, observe()))

    status = status_for(resumed, observe())

    assert (status.phase, condition(status, "Suspended").status) == ("Pending", "False")


def test_a_mistake_in_a_job_that_was_created_suspended_can_still_be_corrected():
    changes, problem = INVALID["two volumes of one name"]

    status = status_for(make_record({**changes, "spec.suspend": True}), observe())

    assert true_conditions(status) == {"Suspended"}
    assert problem in condition(status, "Suspended").message


def test_a_run_whose_status_nobody_wrote_yet_outlives_a_crd_that_cuts_off_what_is_required():
    plan = plan_for(make_record({"spec.model": ...}), observe(make_run()))

    assert plan.actions == ()
    assert why(plan.status)[0] == "VersionSkew"


def test_saying_that_a_spec_cannot_be_read_is_said_once():
    record = make_record(NEWER["an unknown field"])
    status = plan_for(record, observe()).status

    again = plan_for(stored(record, status), observe())

    assert again.status == status
    assert again.announcements == ()


def test_a_field_of_the_status_that_another_release_wrote_costs_no_other():
    status = finished_status(
        phase="Teleporting",
        progress={"rowsProcessed": "many"},
        run={"number": 4, "jobName": "x", "qubits": 3},
        novelty={"deep": []},
    )

    record = make_record(status=status)

    assert record.is_finished
    assert record.status.phase is None
    assert record.status.progress is None
    assert record.run_number == 4


def test_a_condition_that_cannot_be_read_does_not_let_a_finished_job_run_again():
    strange = {"type": "Verified", "status": "Perhaps"}
    status = finished_status("Complete")
    status["conditions"] = [strange, *status["conditions"], "none"]

    assert make_record(status=status).is_finished


STATUSES_OF_USERS = [
    {"conditions": [{"type": "Complete"}]},
    {"conditions": "none", "run": [], "progress": 7, "shards": None},
    {"startTime": "yesterday", "completionTime": "", "run": {"number": -1}},
    {"startTime": "2026-08-01T11:59:60Z", "progress": {"lastUpdatedTime": "24:00"}},
    {"startTime": "2026-08-01T11:59:00", "phase": "Running"},
    {"observedGeneration": "three", "workers": {"ready": 10**30}},
]


@pytest.mark.parametrize("status", STATUSES_OF_USERS)
@pytest.mark.parametrize("end", [None, "Complete"])
def test_a_status_that_somebody_made_up_stops_nothing(status, end):
    record = make_record(
        {"spec.activeDeadlineSeconds": 60, "spec.progressDeadlineSeconds": 60},
        status=status if end is None else finished_status(end) | status,
    )

    plan = plan_for(record, observe(make_run()))

    assert record.is_finished or plan.status.observed_generation == 1


def test_a_job_without_what_the_server_always_sets_is_read():
    manifest = make_stored_manifest({"metadata.resourceVersion": "1"})
    del manifest["metadata"]["generation"]

    record = read_record(manifest)

    assert (record.generation, record.run_number, record.is_finished) == (0, 0, False)


INSTANTS = {
    "as the operator writes it": (
        "2026-08-01T12:00:00Z",
        datetime(2026, 8, 1, 12, tzinfo=UTC),
    ),
    "with an offset": (
        "2026-08-01T12:00:00+02:00",
        datetime(2026, 8, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    ),
    "with nanoseconds": (
        "2026-08-01T12:00:00.123456789Z",
        datetime(2026, 8, 1, 12, 0, 0, 123456, tzinfo=UTC),
    ),
    "without a zone": ("2026-08-01T12:00:00", datetime(2026, 8, 1, 12, tzinfo=UTC)),
    "nothing": ("", None),
    "nothing at all": (None, None),
    "no time": ("soon", None),
    "a leap second": ("2026-06-30T23:59:60Z", None),
}


@pytest.mark.parametrize(("text", "moment"), INSTANTS.values(), ids=INSTANTS)
def test_an_instant_is_read(text, moment):
    found = parse_time(text)

    assert found == moment
    assert found is None or found.tzinfo is not None


def test_an_instant_is_written_in_whole_seconds():
    assert format_time(datetime(2026, 8, 1, 12, 0, 0, 999999, tzinfo=UTC)) == "2026-08-01T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-08-01T14:00:00+02:00", "2026-08-01T12:00:00Z"),
        ("0999-01-01T00:00:00Z", "0999-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("soon", None),
    ],
)
def test_an_instant_that_a_user_wrote_is_read_in_utc_or_not_at_all(text, moment):
    found = parse_time(text)

    assert (found and format_time(found)) == moment
