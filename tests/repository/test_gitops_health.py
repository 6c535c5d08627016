"""Argo CD's script and kstatus agree with the table of conditions, in every state of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from batch_inference_operator.decide.conditions import State, conditions_of
from testkit.gitops_health import SCRIPT, argo_health, kstatus_of

NOW = datetime(2026, 8, 1, tzinfo=UTC)
HEALTH = {
    State.IN_PROGRESS: "Progressing",
    State.SUSPENDED: "Suspended",
    State.COMPLETE: "Healthy",
    State.FAILED: "Degraded",
}


KSTATUS = {
    State.IN_PROGRESS: "InProgress",
    State.SUSPENDED: "Current",
    State.COMPLETE: "Current",
    State.FAILED: "Failed",
}


def make_job(state: State, *, generation: int = 1, seen: int = 1) -> dict[str, Any]:
    conditions = conditions_of(
        state, reason="Why", message="what", report=None, previous=(), generation=seen, now=NOW
    )
    listed = [found.model_dump(mode="json", by_alias=True) for found in conditions]
    status = {"observedGeneration": seen, "conditions": listed}
    return {"metadata": {"name": "job", "generation": generation}, "status": status}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_argo_cd_shows_each_state_and_why(state: State) -> None:
    assert argo_health(make_job(state)) == (HEALTH[state], "Why: what")


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_a_spec_that_the_operator_has_not_seen_is_progressing(state: State) -> None:
    assert argo_health(make_job(state, generation=2))[0] == "Progressing"


@pytest.mark.parametrize(
    "status", [None, {}, {"observedGeneration": -1}, {"observedGeneration": 1}], ids=repr
)
def test_a_job_that_nobody_looked_at_is_progressing(status: dict[str, Any] | None) -> None:
    job = {"metadata": {"generation": 1}} | ({} if status is None else {"status": status})
    assert argo_health(job) == ("Progressing", "not yet seen by the operator")


def test_kstatus_computes_what_the_table_promises() -> None:
    found = kstatus_of([make_job(state) for state in State])
    assert dict(zip(State, found, strict=True)) == KSTATUS


def test_kstatus_calls_nothing_current_that_the_operator_has_not_seen() -> None:
    unseen = {"metadata": {"name": "job", "generation": 1}, "status": {"observedGeneration": -1}}
    edited = [make_job(state, generation=2) for state in State]
    assert kstatus_of([unseen, *edited]) == ["InProgress"] * 5


def test_the_patch_for_argo_cd_holds_the_script_that_is_tested() -> None:
    (script,) = yaml.safe_load((SCRIPT.parent / "argocd-cm.yaml").read_text())["data"].values()
    assert script == SCRIPT.read_text()
