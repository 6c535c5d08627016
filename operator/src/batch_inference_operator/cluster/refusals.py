"""HTTP answers of an API server as ClusterErrors.

The server explains itself in a `Status` object; a proxy or load balancer in front of it may answer
with anything, or nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from batch_inference_operator.cluster.api import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unadmitted,
    Unreachable,
)
from batch_inference_operator.names import DENIAL, UNANSWERED_WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Mapping

_MESSAGE_LENGTH = 2000
"""Some admission webhooks answer with pages of text."""
_LONGEST_WISH_SECONDS = 300.0
"""The longest Retry-After that is heeded: until then not even a user's change is looked at."""
_INVALID = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a `Status` object says, as far as the operator cares."""

    reason: str = ""
    message: str = ""
    retry_after_seconds: float | None = None


class Expired(Unreachable):
    """A list took so long that its later pages are gone (410): begin anew."""


def refusal_of(
    code: int, body: bytes, headers: Mapping[str, str], *, is_create: bool, call: str = "a call"
) -> ClusterError:
    """The error that an answer other than 2xx to `call` stands for."""
    status = _read_status(body, headers)
    message = status.message or f"the API server answered {code} {_phrase(code)} to {call}"
    kind = _kind_of(code, status, is_create=is_create)
    return kind(message[:_MESSAGE_LENGTH], retry_after_seconds=status.retry_after_seconds)


def _kind_of(code: int, status: ServerStatus, *, is_create: bool) -> type[ClusterError]:
    if code == HTTPStatus.FORBIDDEN or DENIAL.search(status.message):
        return Forbidden  # whoever denies an object chooses the code: often 422, or 400
    if code == HTTPStatus.CONFLICT:
        # A quota that changed meanwhile also answers 409 to a create, with the reason Conflict.
        taken = status.reason == "AlreadyExists" or (is_create and not status.reason)
        return AlreadyExists if taken else Conflict
    if code == HTTPStatus.NOT_FOUND:
        return NotFound
    if code == HTTPStatus.GONE:
        return Expired
    if code == HTTPStatus.INTERNAL_SERVER_ERROR and UNANSWERED_WEBHOOK in status.message:
        return Unadmitted
    # 401 too: a token is rotated while the pod lives, and the next call carries the new one.
    return Invalid if code in _INVALID else Unreachable


def _read_status(body: bytes, headers: Mapping[str, str]) -> ServerStatus:
    header = _seconds(headers.get("Retry-After"))
    try:
        document = json.loads(body)
    except ValueError:
        return ServerStatus(retry_after_seconds=header)
    if not isinstance(document, dict):
        return ServerStatus(retry_after_seconds=header)
    details = document.get("details")
    told = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return ServerStatus(
        reason=str(document.get("reason") or ""),
        message=str(document.get("message") or ""),
        retry_after_seconds=header if header is not None else _seconds(told),
    )


def _seconds(value: object) -> float | None:
    """Seconds of a Retry-After; its other form, a date, would need both clocks to agree."""
    try:
        seconds = float(str(value))
    except ValueError:
        return None
    return min(seconds, _LONGEST_WISH_SECONDS) if 0 < seconds < float("inf") else None


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""
