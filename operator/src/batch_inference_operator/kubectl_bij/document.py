"""The page of `status` for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_operator.decide.record import format_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batch_inference_operator.kubectl_bij.page import Described


def document(described: Described, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The job's standing and advice as JSON values; `status` is as the server holds it."""
    record, standing, advice = described.record, described.standing, described.advice
    return {
        "namespace": record.namespace,
        "name": record.name,
        "state": standing.state.value,
        "phase": standing.word,
        "reason": standing.reason,
        "message": standing.message,
        "since": _time(standing.since),
        "meaning": advice.meaning,
        "advice": advice.text,
        "commands": list(advice.commands),
        "status": raw.get("status") or {},
        "events": [
            {
                "lastTime": _time(event.seen),
                "type": "Warning" if event.is_warning else "Normal",
                "reason": event.reason,
                "message": event.message,
                "count": event.times,
            }
            for event in described.events
        ],
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
