"""When a status is worth writing: each write prints a line under `kubectl get -w`."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.v1alpha1.status import JobStatus
from batch_inference_operator.decide.status import is_worth_writing
from batch_inference_operator.observation import Termination
from testkit.observations import (
    ago,
    make_ended_pod,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_waiting_pod,
    named_run,
    observe,
    plan_for,
    running_status,
    status_for,
    stored,
)

INTERVAL = 5


def running(rows: int = 500, *, reason: str = "Running", message: str = "", **changes: Any):
    status = running_status(**changes)
    status["progress"] |= {"rowsProcessed": rows, "rowsTotal": 1000}
    status["conditions"] = [
        {
            "type": "Reconciling",
            "status": "True",
            "lastTransitionTime": "2026-08-01T11:00:00Z",
            "reason": reason,
            "message": message,
        }
    ]
    return make_record(status=status).status


BEFORE = running()
NOTHING = running(duration="9m9s")
A_LITTLE = running(504)
A_LEAP = running(505)
ANOTHER_REASON = running(reason="WorkerFailed")
ANOTHER_MESSAGE = running(message="0/4 nodes are available")
ANOTHER_PHASE = running(phase="Finalizing")
ANOTHER_RUN = running(run=named_run(2))
ANOTHER_GENERATION = running(observedGeneration=2)
NEVER_TOLD = JobStatus()

WRITES = {
    "the time that it takes is not worth a line": (BEFORE, NOTHING, 10**6, False),
    "another phase is told at once": (BEFORE, ANOTHER_PHASE, 0, True),
    "another run is told at once": (BEFORE, ANOTHER_RUN, 0, True),
    "an edit that was seen is told at once": (BEFORE, ANOTHER_GENERATION, 0, True),
    "the first status is told at once": (NEVER_TOLD, BEFORE, 0, True),
    "another reason waits for the interval": (BEFORE, ANOTHER_REASON, 4.9, False),
    "another reason is told with the next progress": (BEFORE, ANOTHER_REASON, 5, True),
    "another message waits for the interval": (BEFORE, ANOTHER_MESSAGE, 4.9, False),
    "another message is told with the next progress": (BEFORE, ANOTHER_MESSAGE, 5, True),
    "half a percent waits for the interval": (BEFORE, A_LEAP, 4.9, False),
    "half a percent is told after it": (BEFORE, A_LEAP, 5, True),
    "less than half a percent waits": (BEFORE, A_LITTLE, 29, False),
    "less than half a percent is told in the end": (BEFORE, A_LITTLE, 30, True),
    "the first rows are told after the interval": (running(0), running(1), 5, True),
    "no row more waits": (running(0), running(0, workers={"ready": 1}), 29, False),
}


@pytest.mark.parametrize(("before", "after", "seconds", "writes"), WRITES.values(), ids=WRITES)
def test_of_writing(before, after, seconds, writes):
    assert writes == is_worth_writing(
        before, after, is_urgent=False, since_last_seconds=seconds, interval=INTERVAL
    )


def test_half_a_percent_of_a_text_format_is_of_the_rows_so_far():
    before, little, leap = (
        running().model_copy(
            update={
                "progress": BEFORE.progress.model_copy(
                    update={"rows_processed": rows, "rows_total": None}
                )
            }
        )
        for rows in (100_000, 100_499, 100_600)
    )

    writes = [
        is_worth_writing(before, after, is_urgent=False, since_last_seconds=5, interval=INTERVAL)
        for after in (little, leap)
    ]

    assert writes == [False, True]


def test_what_is_urgent_is_written_at_once_if_it_is_news():
    urgent = {"is_urgent": True, "since_last_seconds": 0, "interval": INTERVAL}

    assert is_worth_writing(BEFORE, ANOTHER_MESSAGE, **urgent)
    assert not is_worth_writing(BEFORE, NOTHING, **urgent)


@pytest.mark.parametrize(
    ("parts", "phase"),
    [
        ((make_run(),), "Starting"),
        ((make_run(), make_pod(), make_report()), "Running"),
    ],
    ids=["it starts", "it scores"],
)
def test_the_first_steps_of_a_job_are_told_at_once(parts, phase):
    record = make_record()
    if phase == "Running":
        record = stored(record, status_for(record, observe(make_run())))
    plan = plan_for(record, observe(*parts))

    assert plan.status.phase == phase
    assert is_worth_writing(
        record.status,
        plan.status,
        is_urgent=plan.is_urgent,
        since_last_seconds=0,
        interval=INTERVAL,
    )


NAMED = make_record(status=running_status())
GONE = Termination(exit_code=1, finished=ago(400))
LOOKS = {
    "every second while the first rows are near": ((make_pod(running_since=ago(59)),), 1),
    "no longer after a minute of planning": ((make_pod(running_since=ago(60)),), 5),
    "as often as others when nobody answers for a minute": ((make_pod(running_since=ago(61)),), 5),
    "for progress once there is some": ((make_pod(), make_report()), 5),
    "for progress though the pods wait": ((make_waiting_pod(),), 5),
    "less often when they have waited long": ((make_waiting_pod(created=ago(400)),), 20),
    "but still every minute": ((make_waiting_pod(created=ago(40_000)),), 60),
    "less often when it is long gone": ((make_ended_pod(1, termination=GONE),), 20),
    "for the pod that replaces the first one": ((make_ended_pod(1),), 5),
}


@pytest.mark.parametrize(("parts", "seconds"), LOOKS.values(), ids=LOOKS)
def test_a_run_is_looked_at_again(parts, seconds):
    assert plan_for(NAMED, observe(make_run(), *parts)).look_again_seconds == seconds


@pytest.mark.parametrize(("silent_seconds", "seconds"), [(4, 5), (40, 20), (4000, 60)])
def test_a_run_that_does_not_answer_is_asked_ever_more_seldom(silent_seconds, seconds):
    pod = make_pod(running_since=ago(5000))
    silent = observe(make_run(), pod, unreachable_seconds=silent_seconds)

    assert plan_for(NAMED, silent).look_again_seconds == seconds


def test_a_run_whose_first_pod_is_to_go_is_looked_at_as_often_as_ever():
    pod = make_pod(running_since=ago(5000), deleted=ago(20), grace_seconds=10)
    silent = observe(make_run(), pod, unreachable_seconds=4000)

    assert plan_for(NAMED, silent).look_again_seconds == 5
