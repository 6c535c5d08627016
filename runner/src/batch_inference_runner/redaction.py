"""Takes secrets out of text that people will see: logs, messages, reports."""

from __future__ import annotations

import re
import threading

from batch_inference_api import redaction as rules

_MIN_SECRET_LENGTH = 6
"""Shorter values would mask ordinary words."""

_PATHS_MAY_HOLD_QUESTION_MARKS = frozenset({"file", "s3", "gs", "az"})

_secrets: frozenset[str] = frozenset()
_known: re.Pattern[str] | None = None
_lock = threading.Lock()


def register_secret(value: str) -> None:
    """Mask `value` wherever it appears from now on; very short values are not registered."""
    global _secrets, _known  # noqa: PLW0603 - one process has one set of secrets
    value = value.strip()
    if len(value) < _MIN_SECRET_LENGTH:
        return
    with _lock:
        _secrets |= {value}
        longest_first = sorted(_secrets, key=len, reverse=True)
        _known = re.compile("|".join(re.escape(secret) for secret in longest_first))


def redact(text: str) -> str:
    """Replace credentials in `text`, and whatever was registered, by `***`."""
    known = _known
    if known is not None:
        text = known.sub(rules.MASK, text)
    return rules.redact(text)


def public_uri(uri: str) -> str:
    """Return where something lies without user information and without a query."""
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    shown = rest if scheme == "file" else authority.rpartition("@")[2] + slash + path
    if scheme not in _PATHS_MAY_HOLD_QUESTION_MARKS:
        shown = shown.partition("?")[0]
    return scheme + separator + shown
