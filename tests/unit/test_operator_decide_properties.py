"""What holds for whatever is seen, in whatever order, whatever pods say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_api.v1alpha1.status import JobStatus
from batch_inference_operator.carry_out import status_document
from batch_inference_operator.decide.plan import CreateRun, Plan
from batch_inference_operator.decide.record import Record
from batch_inference_operator.observation import Observation, RunPod
from testkit.drawn_observations import changes_of_jobs, moments, observations, stored_statuses
from testkit.observations import (
    NOW,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_waiting_pod,
    observe,
    plan_for,
    status_for,
    stored,
)
from testkit.status_rules import check_against_the_crd, check_status, check_step

HISTORIES = st.lists(st.tuples(changes_of_jobs, moments, observations), min_size=1, max_size=4)


def check_plan(record: Record, observation: Observation, plan: Plan) -> None:
    creates = [action for action in plan.actions if isinstance(action, CreateRun)]
    assert len(creates) <= 1
    for create in creates:
        assert create.number > max((record.run_number, *(job.number for job in observation.jobs)))
        assert not record.spec.suspend
    if record.being_deleted or record.managed_elsewhere:
        assert plan == Plan()
    assert plan.look_again_seconds is None or plan.look_again_seconds > 0


def check_that_planning_again_changes_nothing(
    record: Record, observation: Observation, status: JobStatus, moment: timedelta
) -> None:
    again = plan_for(stored(record, status), observation, now=NOW + moment)

    assert again.status is None or again.status == status.model_copy(
        update={"duration": again.status.duration}
    )
    assert again.announcements == ()


@settings(max_examples=300)
@given(HISTORIES)
def test_every_history_has_truthful_statuses(
    history: list[tuple[dict[str, Any], timedelta, Observation]],
):
    status = JobStatus()
    moment = timedelta(0)
    for changes, passed, observation in history:
        moment += passed
        record = replace(make_record(changes), status=status)

        plan = plan_for(record, observation, now=NOW + moment)

        check_plan(record, observation, plan)
        if plan.status is not None:
            check_status(plan.status)
            check_step(status, plan.status)
            check_that_planning_again_changes_nothing(record, observation, plan.status, moment)
            status = plan.status
    check_against_the_crd(status)


@settings(max_examples=150)
@given(stored_statuses, changes_of_jobs, observations)
def test_a_status_that_somebody_made_up_never_stops_the_operator(
    made_up: dict[str, Any], changes: dict[str, Any], observation: Observation
):
    record = make_record(changes, status=made_up)

    plan = plan_for(record, observation)

    if plan.status is not None:
        check_status(plan.status)
        check_against_the_crd(plan.status)


LARGE = make_report(
    rows={"total": 10**9, "processed": 10**9 - 1, "written": 10**8, "rejected": 10**6},
    shards={"total": 100_000, "pending": 1, "active": 1000, "succeeded": 90_000, "failed": 7},
    model={
        "resolved_digest": "sha256:" + "a" * 64,
        "execution_provider": "TensorrtExecutionProvider",
        "batch_size": 65_536,
    },
)
RUN = make_run(name="churn-2026-08-1f3a9c", uid="0b1e7c0e-7d3c-4c1e-9d55-5a1f0f9e7a11")


@pytest.mark.parametrize("pod", [make_waiting_pod(), make_pod()], ids=["starting", "running"])
def test_the_status_of_a_job_that_goes_on_has_less_than_two_kilobytes(pod: RunPod):
    """It is written and watched every few seconds; large runs with everything set are no more."""
    running = stored(make_record(), status_for(make_record(), observe(RUN, make_pod(), LARGE)))

    status = status_for(running, observe(RUN, pod, LARGE if pod.running_since else None))

    assert len(json.dumps(status_document(status), separators=(",", ":"))) < 2048
