"""What an account has asked the API server, by the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch_inference_operator.cluster.rights import Right

Event = dict[str, Any]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def requests_of(account: str, audit_log: Path, *, since: datetime = _LONG_AGO) -> Iterator[Event]:
    """The requests of an account, the oldest first."""
    assert audit_log.exists(), "this cluster is of an older checkout: make cluster-down cluster"
    with audit_log.open(encoding="utf-8") as lines:
        for line in lines:
            # Most lines are of others, and the last one may not be written to its end.
            if account not in line or not line.endswith("\n"):
                continue
            event = json.loads(line)
            is_theirs = event["user"]["username"] == account
            if is_theirs and datetime.fromisoformat(event["requestReceivedTimestamp"]) >= since:
                yield event


def is_denied(event: Event) -> bool:
    """Whether roles did not allow it; what admission or a conflict refused was allowed by them."""
    return event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"


def denied(requests: Iterable[Event]) -> set[str]:
    """Those that are, as people write them."""
    return {f"{event['verb']} {event['requestURI']}" for event in requests if is_denied(event)}


def right_of(event: Event) -> Right | None:
    """The right that a request needed; None if it was about no resource, such as `/version`."""
    target = event.get("objectRef")
    if target is None:
        return None
    group, subresource = target.get("apiGroup", ""), target.get("subresource", "")
    return Right(group, target["resource"], event["verb"], subresource)
