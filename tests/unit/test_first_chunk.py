"""A shard that begins with a chunk that is at hand: its rows come once, and first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from batch_inference_runner.plan.plan import Piece, Shard
from batch_inference_runner.rows import Chunk, Positions, UnreadableRows
from batch_inference_runner.score.first_rows import chunks_from


def chunk_of(first: int, stop: int, *, file: int = 0) -> Chunk:
    table = pa.table({"row": pa.array(range(first, stop), pa.int64())})
    return Chunk(file, table, Positions(first=first))


class Reader:
    """Gives these chunks, and notes when it is asked for the first."""

    def __init__(self, *chunks: Chunk) -> None:
        self._chunks = chunks
        self.asked = False

    def chunks(self, _shard: Shard) -> Iterator[Chunk]:
        self.asked = True
        yield from self._chunks


def shard_of(rows: int | None, *, file: int = 0) -> Shard:
    first_row = None if rows is None else 0
    return Shard(0, (Piece(file, 0, 1, first_row, rows),))


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([(0, 4), (4, 10)], id="the reader gives the same chunk again"),
        pytest.param([(0, 2), (2, 10)], id="the reader gives smaller chunks"),
        pytest.param([(0, 10)], id="the reader gives a larger chunk"),
    ],
)
def test_every_row_comes_once_and_the_known_ones_before_the_reader_is_asked(chunks):
    reader = Reader(*(chunk_of(first, stop) for first, stop in chunks))
    found = chunks_from(chunk_of(0, 4), reader, shard_of(10))
    first = next(found)
    assert (first.table.num_rows, reader.asked) == (4, False)
    rest = list(found)
    assert [row for chunk in (first, *rest) for row in chunk.table["row"].to_pylist()] == [
        *range(10)
    ]
    assert all(
        chunk.positions.first == chunk.table["row"][0].as_py() for chunk in rest if len(chunk.table)
    )


@pytest.mark.parametrize(
    ("known", "shard"),
    [
        pytest.param(None, shard_of(10), id="nothing is at hand"),
        pytest.param(chunk_of(0, 4), shard_of(None), id="text has no row numbers"),
        pytest.param(chunk_of(0, 4, file=1), shard_of(10), id="it is of another file"),
        pytest.param(chunk_of(4, 8), shard_of(10), id="it is from the middle of the file"),
        pytest.param(chunk_of(0, 4), shard_of(3), id="it goes beyond the shard"),
        pytest.param(chunk_of(0, 4), Shard(0, ()), id="the shard is empty"),
    ],
)
def test_a_shard_that_begins_elsewhere_is_read_as_it_is(known, shard):
    given = (chunk_of(0, 6), chunk_of(6, 10))
    found = list(chunks_from(known, Reader(*given), shard))
    assert [chunk.table["row"].to_pylist() for chunk in found] == [[*range(6)], [*range(6, 10)]]


def test_what_is_unreadable_behind_the_known_rows_is_still_told():
    lost = UnreadableRows(np.arange(4, 10), "CorruptRowGroup", "row group 0 cannot be decoded")
    broken = Chunk(0, chunk_of(0, 0).table, Positions(first=4), (lost,))
    found = chunks_from(chunk_of(0, 4), Reader(chunk_of(0, 4), broken), shard_of(10))
    assert [each for chunk in found for each in chunk.unreadable] == [lost]
