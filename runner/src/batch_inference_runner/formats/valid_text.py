"""Text in files of a format that says it is UTF-8, which many writers never check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from batch_inference_runner.formats.bisected import decode_bisected
from batch_inference_runner.nested_types import with_leaves
from batch_inference_runner.rows import UnreadableRows

if TYPE_CHECKING:
    from batch_inference_runner.rows import Chunk, Indices

_BYTES_OF = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


def is_text_valid(table: pa.Table) -> bool:
    """Say whether all text of a table is UTF-8.

    Raises pa.ArrowInvalid if the table is damaged in another way, which leaves no row that could
    be relied on.
    """
    invalid = [column for column in table.columns if not _is_valid(column)]
    for column in invalid:
        for array in column.chunks:
            array.view(with_leaves(array.type, _bytes_of)).validate(full=True)
    return not invalid


def without_invalid_text(chunk: Chunk) -> Chunk:
    """Take the rows whose text is not UTF-8 out of a chunk; they become unreadable."""
    invalid = [column for column in chunk.table.columns if not _is_valid(column)]

    def valid_rows(first: int, last: int) -> Indices | None:
        rows = np.arange(first, last)
        # Taken, not sliced: of a slice of lists the values of all others are looked at as well.
        return rows if all(_is_valid(column.take(rows)) for column in invalid) else None

    def no_rows(_first: int, _last: int) -> Indices:
        return np.arange(0)

    rows = chunk.table.num_rows
    kept = np.concatenate([*decode_bisected(rows, valid_rows, no_rows, few=1)])
    lost = np.setdiff1d(np.arange(rows), kept)
    unreadable = UnreadableRows(
        chunk.positions.at(lost), "InvalidUtf8", "text of the row is not valid UTF-8"
    )
    return chunk._replace(
        table=chunk.table.take(kept),
        positions=chunk.positions._replace(first=0, offsets=chunk.positions.at(kept)),
        unreadable=(*chunk.unreadable, unreadable),
    )


def _is_valid(column: pa.ChunkedArray) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _bytes_of(kind: pa.DataType) -> pa.DataType:
    """The type that takes any bytes for text, and else is the same."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, with_leaves(kind.value_type, _bytes_of), kind.ordered)
    return _BYTES_OF.get(kind, kind)
