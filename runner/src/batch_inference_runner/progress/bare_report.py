"""A report about a run whose config could not be read, or whose driver cannot speak any more."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from batch_inference_api.runner_contract import JobIdentity, ProgressReport, RunPhase

_UNKNOWN = "unknown"


def bare_report(config: bytes, *, attempt: int, phase: RunPhase) -> ProgressReport:
    """Say whose run it is, as far as `config` can be understood, and nothing of how far it is."""
    document = _object(config)
    run_number = _part(document, "run").get("number")
    return ProgressReport(
        job=_identity(_part(document, "job")),
        run_number=run_number if isinstance(run_number, int) else 1,
        attempt=attempt,
        phase=phase,
    )


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = from_json(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    part = document.get(name)
    return part if isinstance(part, dict) else {}


def _identity(job: dict[str, Any]) -> JobIdentity:
    try:
        return JobIdentity.model_validate(job)
    except ValidationError:
        return JobIdentity(name=_UNKNOWN)
