"""Takes secrets out of text that people will see: logs, messages, reports."""

from __future__ import annotations

import re
import threading

from batch_inference_api import redaction as rules

_MIN_SECRET_LENGTH = 6
"""Shorter values would mask ordinary words."""

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
