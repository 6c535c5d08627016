"""Files of a binary format that cannot be opened: what they are instead, and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

if TYPE_CHECKING:
    from batch_inference_runner.formats.foreign_file import ForeignFile

MAGIC = {b"PAR1": DataFormat.PARQUET, b"ARROW1": DataFormat.ARROW}
"""What files of these formats begin with; Arrow streams begin with nothing of the kind."""
_HEAD_BYTES = 64
_TEXT = re.compile(rb"(\xef\xbb\xbf)?[\t\r\n -~\x80-\xff]+")


def unreadable_file(foreign: ForeignFile, kind: DataFormat, problem: str) -> InvalidJob:
    """Make the refusal of a file that is not what `spec.input.format` says, or is damaged.

    Raises whatever the store does when the file's beginning cannot be fetched.
    """
    head = bytes(foreign.source.read_at(0, min(_HEAD_BYTES, foreign.size)))
    others = [form for magic, form in MAGIC.items() if form is not kind and head.startswith(magic)]
    if others:
        advice = f"it begins as {others[0]} does: set spec.input.format to {others[0]}"
    elif _TEXT.fullmatch(head):
        advice = (
            "it begins as text does: if it is CSV or JSON Lines, set spec.input.format to that, "
            "else write it again"
        )
    else:
        advice = f"{problem}: write it again"
    return InvalidJob(
        Reason.INPUT_CORRUPT,
        f"{foreign.file.uri!r} is not a readable {kind} file; {advice}, or leave it out of the "
        "input",
    )
