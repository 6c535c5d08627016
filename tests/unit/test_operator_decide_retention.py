"""What remains of a finished job."""

from __future__ import annotations

import pytest

from batch_inference_operator.decide.plan import DeleteRun, Plan
from batch_inference_operator.observation import JobEnd
from batch_inference_operator.settings import Settings
from testkit.observations import (
    finished_status,
    instant,
    make_ended_pod,
    make_ended_run,
    make_pod,
    make_record,
    make_run,
    make_success,
    observe,
    plan_for,
    stored,
)

DELETION = DeleteRun(job_name="churn-run-1", job_uid="uid-of-run-1")
ENDED = make_ended_run(JobEnd.COMPLETE)
DONE = make_ended_pod(0, make_success())


def finished(seconds_ago: float, ttl: int | None = None, kind: str = "Complete"):
    changes = {} if ttl is None else {"spec.ttlSecondsAfterFinished": ttl}
    return make_record(changes, status=told_status(seconds_ago, kind))


def told_status(seconds_ago: float, kind: str = "Complete"):
    """The status of a job that ended long before it could be seen."""
    status = finished_status(kind, completionTime=instant(10**6))
    (end,) = status["conditions"]
    return status | {"conditions": [end | {"lastTransitionTime": instant(seconds_ago)}]}


KEPT = {
    "for good, without a ttl": (finished(10**8), (ENDED, DONE), None),
    "until the ttl is over": (finished(59, ttl=60), (ENDED, DONE), 1),
    "for a minute, in which the Job controller ends it": (finished(59), (make_run(), DONE), 1),
    "for five seconds, until the cache knows how index 0 ended": (
        finished(4),
        (make_run(), make_pod()),
        1,
    ),
    "on its way out": (finished(100, ttl=1), (make_run(being_deleted=True),), None),
}
DELETED = {
    "when the ttl is over": (finished(60, ttl=60), (ENDED, DONE)),
    "at once with a ttl of 0": (finished(0, ttl=0), (ENDED, DONE)),
    "with a failed job, too": (finished(60, ttl=60, kind="Failed"), (ENDED, DONE)),
    "when it does not end by itself": (finished(60), (make_run(), DONE)),
    "when a deadline was missed and nobody ends it": (
        finished(5, kind="Failed"),
        (make_run(), make_pod()),
    ),
    "when a deadline was missed and its pod is being replaced": (
        finished(5, kind="Failed"),
        (make_run(), make_ended_pod(1)),
    ),
    "when it was never started by its queue": (
        finished(5, kind="Failed"),
        (make_run(suspended=True),),
    ),
}


@pytest.mark.parametrize(("record", "parts", "again"), KEPT.values(), ids=KEPT)
def test_a_job_is_kept(record, parts, again):
    assert plan_for(record, observe(*parts)) == Plan(is_urgent=True, look_again_seconds=again)


@pytest.mark.parametrize(("record", "parts"), DELETED.values(), ids=DELETED)
def test_a_job_is_deleted(record, parts):
    assert plan_for(record, observe(*parts)) == Plan(actions=(DELETION,), is_urgent=True)


def test_the_platform_sets_a_ttl_for_jobs_that_have_none():
    settings = Settings(ttl_seconds_after_finished=60)

    assert plan_for(finished(60), observe(ENDED), settings=settings).actions == (DELETION,)
    assert plan_for(finished(60, ttl=90), observe(ENDED), settings=settings).actions == ()


def test_nothing_but_children_is_ever_deleted():
    assert plan_for(finished(10**8, ttl=0), observe()) == Plan(is_urgent=True)


def test_every_run_that_is_left_is_deleted():
    jobs = (make_run(1, end=JobEnd.FAILED), make_run(2, end=JobEnd.COMPLETE))

    assert len(plan_for(finished(60, ttl=60), observe(*jobs)).actions) == 2


def test_an_edit_after_the_end_is_seen_once_and_changes_nothing_else():
    """Without it `kubectl wait` would hang: it compares the generations of conditions."""
    record = make_record({"metadata.generation": 7}, status=finished_status())

    status = plan_for(record, observe()).status

    assert status.observed_generation == 7
    assert {found.observed_generation for found in status.conditions} == {7}
    assert stored(record, status).status.model_copy(
        update={"observed_generation": 1, "conditions": ()}
    ) == record.status.model_copy(update={"conditions": ()})
    assert plan_for(stored(record, status), observe()).status is None


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
@pytest.mark.parametrize(
    "parts",
    [
        (),
        (make_run(), make_pod()),
        (make_run(2), make_ended_pod(0, make_success())),
        (make_ended_run(JobEnd.FAILED, "BackoffLimitExceeded"),),
    ],
    ids=["nothing", "a run that goes on", "a run that succeeded", "a run that failed"],
)
def test_what_ended_stays_ended_whatever_is_seen_later(kind, parts):
    record = make_record({"spec.suspend": True}, status=finished_status(kind))

    assert plan_for(record, observe(*parts)).status is None


def test_a_spec_that_cannot_be_read_any_more_leaves_a_finished_job_finished():
    record = make_record({"spec.quantum": True}, status=finished_status())

    assert record.job is None
    assert plan_for(record, observe(ENDED, DONE)) == Plan(is_urgent=True)


def test_a_job_whose_end_has_no_time_is_not_cleared_away_by_guess():
    status = finished_status()
    status["conditions"][0]["lastTransitionTime"] = "long ago"

    assert plan_for(make_record(status=status), observe(make_run())).actions == ()
