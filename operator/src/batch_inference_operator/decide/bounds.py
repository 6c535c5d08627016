"""What pods and other controllers say, cut to what a status can hold.

Pods run other people's models, so a report may say anything. Whatever it says, the API server must
accept the status, and the status must stay small.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batch_inference_api.redaction import redact
from batch_inference_api.v1alpha1.status import MAX_COUNT, REASON_PATTERN

if TYPE_CHECKING:
    from batch_inference_api.reasons import Reason

_LONGEST_REASON = 128


def as_count(number: int | None) -> int | None:
    """The number as a counter of the API, which is never negative."""
    return None if number is None else max(0, min(number, MAX_COUNT))


def as_text(text: str, max_bytes: int) -> str:
    """The text with at most so many bytes, without credentials and what no terminal should get."""
    printable = "".join(
        letter if letter.isprintable() or letter == "\n" else " "
        for letter in redact(text)[:max_bytes]
    )
    return printable.encode()[:max_bytes].decode(errors="ignore")


def as_reason(text: str | None, *, otherwise: Reason) -> str:
    """The text, if it is one word as the reason of a condition has to be."""
    if text is None or len(text) > _LONGEST_REASON or re.fullmatch(REASON_PATTERN, text) is None:
        return otherwise
    return text
