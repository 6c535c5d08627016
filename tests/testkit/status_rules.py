"""What must hold for every status, and between a status and the next."""

from __future__ import annotations

import json
from functools import cache

from jsonschema import Draft202012Validator

from batch_inference_api.crd import custom_resource_definition
from batch_inference_api.v1alpha1.status import JobStatus
from batch_inference_operator.carry_out import status_document

MAX_STATUS_BYTES = 32 * 1024
_STATES = (
    {"Reconciling"},
    {"Suspended"},
    {"Complete"},
    {"Failed", "Stalled"},
)
STATE_CONDITIONS = set().union(*_STATES)
"""Those that say where a job stands; the others say what planning found."""
_TERMINAL = {"Complete", "Failed"}


@cache
def _schema() -> Draft202012Validator:
    """The schema that the API server has: what it refuses, an operator writes in vain."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    return Draft202012Validator(version["schema"]["openAPIV3Schema"]["properties"]["status"])


def check_against_the_crd(status: JobStatus) -> None:
    """Hold a status against the schema of the API server, which takes a while."""
    assert list(_schema().iter_errors(status_document(status))) == []


def check_status(status: JobStatus) -> None:
    """Hold a status against the model that the schema is made from, and against its own rules."""
    document = status_document(status)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    assert JobStatus.model_validate_json(text) == status
    assert len(text.encode()) <= MAX_STATUS_BYTES
    states = _true(status) & STATE_CONDITIONS
    assert states in _STATES, states
    for condition in status.conditions:
        if condition.type in states:
            assert condition.message or condition.type not in ("Reconciling", "Suspended")


def check_step(before: JobStatus, after: JobStatus) -> None:
    """Counters never go back, and what has ended stays ended."""
    for name, old in _counters(before).items():
        assert _counters(after)[name] >= old, name
    ended = _true(before) & _TERMINAL
    assert ended <= _true(after)
    if ended:
        unchanged = {"observed_generation": None, "conditions": ()}
        assert after.model_copy(update=unchanged) == before.model_copy(update=unchanged)


def _true(status: JobStatus) -> set[str]:
    return {condition.type for condition in status.conditions if condition.status == "True"}


def _counters(status: JobStatus) -> dict[str, int]:
    run = status.run.number if status.run else 0
    attempt = status.run.attempt if status.run else 0
    groups = {
        "progress": ("percentage", "rows_processed"),
        "completion_stats": ("successful_count", "failed_count", "filtered_count"),
        "shards": ("succeeded",),
        "resources_consumed": (
            "cpu_seconds",
            "gpu_seconds",
            "earlier_cpu_seconds",
            "earlier_gpu_seconds",
        ),
    }
    counters = {
        f"{group}.{name}": getattr(getattr(status, group), name, None) or 0
        for group, names in groups.items()
        for name in names
    }
    return counters | {"run": run or 0, "run and attempt": (run or 0) * 2**60 + (attempt or 0)}
