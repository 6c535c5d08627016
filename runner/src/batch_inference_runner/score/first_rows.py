"""The first rows of a dataset: the model is tried on them, and the first shard begins with them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_runner.models.probing import PROBE_ROWS
from batch_inference_runner.plan.plan import Piece, Shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch_inference_runner.formats.reading import ShardReader
    from batch_inference_runner.plan.plan import FileInventory
    from batch_inference_runner.rows import Chunk
    from batch_inference_runner.score.stages import Stages

_MOST_BYTES = 64 * 1024 * 1024
"""More are not kept of rows that cannot tell."""


def probe_on_real_rows(
    stages: Stages, reader: ShardReader, inventories: Sequence[FileInventory], *, seconds: float
) -> Chunk | None:
    """Let the model score the first rows of the dataset, if it has any; return their first chunk.

    As a rule one chunk has enough rows to tell whether the model scores each by itself. Of a folder
    of tiny files, or behind a filter, more chunks are read, for about that many seconds at most.
    What could not be told then, every scorer asks of the rows that it scores, until some could.

    Raises:
        JobFailed: MODEL_NOT_ROWWISE.
        MemoryError: not even one row can be prepared.
    """
    first: Chunk | None = None
    few: pa.Table | None = None
    deadline = time.monotonic() + seconds
    for chunk, rows in _rows_from_the_start(reader, inventories):
        first = first or chunk
        prepared = stages.prepared(rows)
        few = stages.model.probe_unless_few(
            prepared if few is None else pa.concat_tables([few, prepared])
        )
        if few is None:
            return first
        if time.monotonic() > deadline or few.get_total_buffer_size() > _MOST_BYTES:
            break
    if few is not None:
        stages.model.probe(few)
    return first


def _rows_from_the_start(
    reader: ShardReader, inventories: Sequence[FileInventory]
) -> Iterator[tuple[Chunk, pa.Table]]:
    """Read the dataset chunk by chunk, each in parts of as many rows as the model is tried on."""
    began = False
    for piece in _units_of(inventories):
        # A later row group that is too large is no reason to refuse the job: it is passed over.
        for chunk in reader.chunks(Shard(0, (piece,)), frugal=began):
            for start in range(0, chunk.table.num_rows, PROBE_ROWS):
                began = True
                yield chunk, chunk.table.slice(start, PROBE_ROWS)


def _units_of(inventories: Sequence[FileInventory]) -> Iterator[Piece]:
    """Every unit that may hold rows, with the number of its first row where rows have numbers."""
    for index, inventory in enumerate(inventories):
        first_row = 0
        for unit in inventory.units:
            if unit.bytes and unit.rows != 0:
                known = None if unit.rows is None else first_row
                yield Piece(index, unit.start, unit.stop, known, unit.rows)
            first_row += unit.rows or 0


def chunks_from(first: Chunk | None, reader: ShardReader, shard: Shard) -> Iterator[Chunk]:
    """Read a shard, beginning with a chunk that is at hand if that is where the shard begins.

    Then the first rows are scored before their file is opened again, which takes 15 ms; what the
    reader gives of them is passed over.
    """
    known = 0
    if first is not None and _begins_with(shard, first):
        yield first
        known = first.table.num_rows
    for chunk in reader.chunks(shard):
        rows = chunk.table.num_rows
        passed = min(known, rows)
        known -= passed
        yield chunk.slice(passed, rows)


def _begins_with(shard: Shard, chunk: Chunk) -> bool:
    """Say if a chunk is the beginning of a shard; of text, which has no row numbers, nobody can."""
    if not shard.pieces or shard.pieces[0].rows is None or chunk.unreadable:
        return False
    piece = shard.pieces[0]
    same_place = (piece.file, piece.first_row) == (chunk.file, chunk.positions.first)
    return same_place and chunk.table.num_rows <= piece.rows
