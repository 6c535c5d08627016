"""`kubectl bij status`: everything about one job that a person may want to know now."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batch_inference_api.reasons_reference import reason_docs
from batch_inference_operator.cluster.api import ClusterError
from batch_inference_operator.decide.record import read_record
from batch_inference_operator.kubectl_bij.advice import advise
from batch_inference_operator.kubectl_bij.document import document
from batch_inference_operator.kubectl_bij.errors import ExitCode
from batch_inference_operator.kubectl_bij.lookup import find_job
from batch_inference_operator.kubectl_bij.page import Described, Happening, page
from batch_inference_operator.kubectl_bij.paint import choose_paint
from batch_inference_operator.kubectl_bij.standing import find_standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batch_inference_operator.kubectl_bij.session import Session

_MOST_EVENTS = 8


def run(session: Session, name: str, *, output: str) -> ExitCode:
    """Print the page, or with `output="json"` the same for programs.

    Raises:
        CommandFailed: there is no such job.
        ClusterError: the cluster refuses to tell.
    """
    raw = find_job(session.calls, name)
    described = _describe(session, raw)
    if output == "json":
        session.say(json.dumps(document(described, raw), indent=2))
    else:
        paint = choose_paint(session.out, session.environment)
        session.say("\n".join(page(described, now=session.now(), paint=paint)))
    return ExitCode.SUCCESS


def _describe(session: Session, raw: Mapping[str, Any]) -> Described:
    record = read_record(raw)
    standing = find_standing(record)
    return Described(
        record=record,
        standing=standing,
        advice=advise(record, standing, docs=_docs(), flags=session.flags),
        created=datetime.fromisoformat(raw["metadata"]["creationTimestamp"]),
        events=_read_events(session, record.uid),
    )


def _docs() -> dict[str, tuple[str, str]]:
    """The reasons' own advice; an installation without source files has none."""
    try:
        return reason_docs()
    except OSError:
        return {}


def _read_events(session: Session, uid: str) -> tuple[Happening, ...]:
    """The latest events. They are an extra: without the right to read them the page still helps."""
    try:
        objects = session.calls.list_events(uid)
    except ClusterError as error:
        session.tell(f"events cannot be read: {error}")
        return ()
    return latest_events(objects)


def latest_events(objects: Iterable[Mapping[str, Any]]) -> tuple[Happening, ...]:
    """The latest events, the youngest first."""
    found = sorted(map(_read_event, objects), key=lambda event: event.seen, reverse=True)
    return tuple(found[:_MOST_EVENTS])


def _read_event(raw: Mapping[str, Any]) -> Happening:
    series = raw.get("series") or {}
    seen = (
        series.get("lastObservedTime")
        or raw.get("lastTimestamp")
        or raw.get("eventTime")
        or raw["metadata"]["creationTimestamp"]
    )
    return Happening(
        seen=datetime.fromisoformat(seen),
        reason=raw.get("reason") or "",
        message=raw.get("message") or "",
        is_warning=raw.get("type") == "Warning",
        times=series.get("count") or raw.get("count") or 1,
    )
