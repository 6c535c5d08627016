"""Where a row is rejected: from a stage's row errors to the records of the reject dataset.

A reject names the file, the row (or the byte offset, for text), the key if the job has a key field,
the stage, the error and a message; never the row's values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from batch_inference_api.choices import MAX_SAMPLES
from batch_inference_runner.formats.unreadable import unreadable_chunks
from batch_inference_runner.rows import Chunk, Stage, UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch_inference_runner.plan.plan import Shard
    from batch_inference_runner.rows import Indices, RowErrors

REJECT_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64()),
        pa.field("byte_offset", pa.int64()),
        pa.field("key", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)


class RejectLog(NamedTuple):
    """Makes reject records for one shard attempt.

    `uris` name the plan's files; `key_field` is a column of every chunk, or None; `text` tells
    whether positions are byte offsets.
    """

    uris: Sequence[str]
    key_field: str | None
    text: bool

    def of_errors(self, chunk: Chunk, errors: Sequence[RowErrors]) -> pa.Table:
        """Records of rows of `chunk` that failed; `indices` of the errors are rows of the chunk."""
        tables = [
            self._records(
                chunk.file,
                chunk.positions.at(error.indices),
                keys=self._keys(chunk.table, error.indices),
                words=(str(error.stage), error.error, error.message),
            )
            for error in errors
        ]
        return pa.concat_tables([REJECT_SCHEMA.empty_table(), *tables])

    def of_unreadable(self, file: int, unreadable: Sequence[UnreadableRows]) -> pa.Table:
        """Records of rows that could not be read."""
        tables = [
            self._records(
                file,
                rows.positions,
                keys=pa.nulls(len(rows.positions), pa.string()),
                words=(str(Stage.READ), rows.error, rows.message),
            )
            for rows in unreadable
        ]
        return pa.concat_tables([REJECT_SCHEMA.empty_table(), *tables])

    def _keys(self, table: pa.Table, indices: Indices) -> pa.Array:
        if self.key_field is None:
            return pa.nulls(len(indices), pa.string())
        return _as_text(table.column(self.key_field).take(pa.array(indices)).combine_chunks())

    def _records(
        self, file: int, positions: Indices, *, keys: pa.Array, words: tuple[str, str, str]
    ) -> pa.Table:
        count = len(positions)
        where = pa.array(np.asarray(positions, dtype=np.int64))
        nowhere = pa.nulls(count, pa.int64())
        row, offset = (nowhere, where) if self.text else (where, nowhere)
        texts = [pa.array([text] * count, pa.string()) for text in (self.uris[file], *words)]
        return pa.table([texts[0], row, offset, keys, *texts[1:]], schema=REJECT_SCHEMA)


def _as_text(keys: pa.Array) -> pa.Array:
    """Write keys as text: moments in UTC, bytes that are no text as hexadecimal digits."""
    types = pa.types
    if types.is_timestamp(keys.type) and keys.type.tz is not None:
        moments = keys.cast(pa.timestamp(keys.type.unit)).cast(pa.string())
        texts = [None if key is None else f"{key}Z" for key in moments.to_pylist()]
        return pa.array(texts, pa.string())
    if types.is_binary(keys.type) or types.is_fixed_size_binary(keys.type):
        return pa.array([_text_of(key) for key in keys.to_pylist()], pa.string())
    return keys.cast(pa.string())


def _text_of(key: bytes | None) -> str | None:
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return f"0x{key.hex()}"


def unread_chunks(shard: Shard, why: str, empty: pa.Table) -> Iterator[Chunk]:
    """Reject the rows of a shard that was given up, without reading them.

    One record a row; for text, whose rows nobody has counted, one record for each byte range.
    """
    message = f"shard {shard.number} was given up: {why}"
    for piece in shard.pieces:
        first, rows = piece.first_row or 0, piece.rows
        if rows is None:
            first, rows = piece.start, 1
        lost = range(first, first + rows)
        yield from unreadable_chunks(
            piece.file, lost, empty=empty, error="ShardFailed", message=message
        )


def samples_of(rejects: pa.Table) -> tuple[dict[str, Any], ...]:
    """Records as the progress report shows them: without keys, which are data.

    The first ones, and the first with each of some messages.
    """
    messages = rejects["message"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, firsts = np.unique(messages, return_index=True)
    places = np.union1d(firsts[:MAX_SAMPLES], np.arange(min(len(messages), MAX_SAMPLES)))
    return tuple(
        {name: value for name, value in record.items() if value is not None}
        for record in rejects.take(places).drop_columns(["key"]).to_pylist()
    )
