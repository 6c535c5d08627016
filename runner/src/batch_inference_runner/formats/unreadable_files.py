"""Files of a binary format that cannot be opened: what they are instead, and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from batch_inference_runner.formats.foreign_file import ForeignFile

MAGIC = {b"PAR1": DataFormat.PARQUET, b"ARROW1": DataFormat.ARROW}
"""What files of these formats begin with; Arrow streams begin with nothing of the kind."""
_ENCRYPTED_MAGIC = b"PARE"
_SIGNATURE_BYTES = 28
"""What follows the footer of an encrypted Parquet file whose footer itself can be read."""
_HEAD_BYTES = 64
_LONGEST_QUOTED = 200
_TEXT = re.compile(rb"(\xef\xbb\xbf)?[\t\r\n -~\x80-\xff]+")


def refuse_encrypted(foreign: ForeignFile, footer: pq.FileMetaData) -> None:
    """Refuse a Parquet file in which columns are encrypted although its footer is not.

    Which columns these are pyarrow does not tell: it aborts the process when it is asked.

    Raises InvalidJob (INPUT_CORRUPT).
    """
    foreign.arrow.seek(foreign.size - 8)
    length = int.from_bytes(foreign.arrow.read(4), "little")
    if length - footer.serialized_size == _SIGNATURE_BYTES:
        raise _encrypted(foreign)


def unreadable_file(
    foreign: ForeignFile, kind: DataFormat, problem: str, error: Exception
) -> InvalidJob:
    """Make the refusal of a file that is not what `spec.input.format` says, or cannot be read.

    Raises whatever the store does when the file's beginning cannot be fetched.
    """
    head = bytes(foreign.source.read_at(0, min(_HEAD_BYTES, foreign.size)))
    others = [form for magic, form in MAGIC.items() if form is not kind and head.startswith(magic)]
    if head.startswith(_ENCRYPTED_MAGIC):
        return _encrypted(foreign)
    if others:
        advice = f"it begins as {others[0]} does: set spec.input.format to {others[0]}"
    elif _TEXT.fullmatch(head):
        advice = (
            "it begins as text does: if it is CSV or JSON Lines, set spec.input.format to that, "
            "else write it again"
        )
    elif isinstance(error, pa.ArrowNotImplementedError):
        return _unsupported(foreign, error)
    else:
        advice = f"{problem} ({type(error).__name__}): write it again"
    return InvalidJob(
        Reason.INPUT_CORRUPT,
        f"{foreign.file.uri!r} is not a readable {kind} file; {advice}, or leave it out of the "
        "input",
    )


def _encrypted(foreign: ForeignFile) -> InvalidJob:
    return InvalidJob(
        Reason.INPUT_CORRUPT,
        f"{foreign.file.uri!r} is encrypted Parquet, which cannot be read: write it without "
        "encryption, or leave it out of the input",
    )


def _unsupported(foreign: ForeignFile, error: pa.ArrowNotImplementedError) -> InvalidJob:
    """Quote what pyarrow says of a schema, in which there is no value of a row."""
    what = str(error).partition("\n")[0][:_LONGEST_QUOTED]
    return InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"{foreign.file.uri!r} cannot be read by pyarrow ({what}): write the file without that, "
        "for example int64 or decimal in place of int128",
    )
