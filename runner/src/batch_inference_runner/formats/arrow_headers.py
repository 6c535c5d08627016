"""How many rows the record batches of an Arrow file have, as their headers say.

pyarrow tells that only after it has decoded a column, and when that column is damaged, not at all.
So the few flatbuffer tables on the way are read here: Footer, Message and RecordBatch of
https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_runner.rows import MOST_UNIT_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batch_inference_runner.storage.store import RandomAccess

_END = struct.Struct("<I6s")
_BLOCK = struct.Struct("<qi4xq")
_CONTINUATION = b"\xff\xff\xff\xff"
_BATCHES_OF_FOOTER = 3
_TYPE_OF_HEADER, _HEADER_OF_MESSAGE = 1, 2
_RECORD_BATCH = 3
_LENGTH_OF_BATCH, _NODES_OF_BATCH = 0, 1
# 64 bytes a column, so that a quarter of a million columns fit.
_MOST_HEADER_BYTES = 16 * 1024 * 1024
# Small batches lie so close that one request fetches them with their headers: not all at once.
_RUN_BYTES = 8 * 1024 * 1024


def batch_rows(source: RandomAccess, ordinals: range | None = None) -> list[int]:
    """Read how many rows each batch of a file has; `ordinals`: of these only.

    Raises pa.ArrowInvalid for headers that make no sense, and what `source` raises.
    """
    counts: list[int] = []
    try:
        for run in _runs(_blocks(source, ordinals)):
            counts.extend(_rows(_unframed(header)) for header in source.read_ranges(run))
    except (struct.error, IndexError) as error:
        raise _damaged() from error
    return counts


def message_rows(message: pa.Message) -> int:
    """Read how many rows a record batch of a stream has.

    Raises pa.ArrowInvalid for a header that makes no sense.
    """
    try:
        return _rows(memoryview(message.metadata))
    except (struct.error, IndexError) as error:
        raise _damaged() from error


def _damaged() -> pa.ArrowInvalid:
    return pa.ArrowInvalid("the header of a record batch is damaged")


def _blocks(source: RandomAccess, ordinals: range | None) -> Iterator[tuple[int, int]]:
    """Read offset and length of the batches' headers from the footer."""
    end = max(0, source.size - _END.size)
    length, _ = _END.unpack(source.read_at(end, source.size - end))
    if length > end:
        raise pa.ArrowInvalid("the footer is damaged")
    footer = _Table.root(source.read_at(end - length, length))
    count, first = footer.vector(_BATCHES_OF_FOOTER)
    wanted = range(count) if ordinals is None else ordinals
    blocks = footer.body[first + _BLOCK.size * wanted.start : first + _BLOCK.size * wanted.stop]
    if wanted.stop > count or len(blocks) != _BLOCK.size * len(wanted):
        raise pa.ArrowInvalid("the footer is damaged")
    total = 0
    for offset, size, _body in _BLOCK.iter_unpack(blocks):
        total += size
        if offset < 0 or not 0 <= size <= _MOST_HEADER_BYTES or offset + size > end or total > end:
            raise pa.ArrowInvalid("the footer is damaged")
        yield offset, size


def _runs(blocks: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Divide the headers by how many bytes are fetched for them, gaps that are short included."""
    from batch_inference_runner.storage.object_file import GAP_BYTES

    run: list[tuple[int, int]] = []
    fetched = reached = 0
    for offset, size in blocks:
        gap = offset - reached
        more = size + gap if gap <= GAP_BYTES else size
        # Nothing says that batches are in order, nor that they do not overlap.
        if run and (gap < 0 or fetched + more > _RUN_BYTES):
            yield run
            run, fetched, more = [], 0, size
        run.append((offset, size))
        fetched += more
        reached = offset + size
    if run:
        yield run


def _unframed(header: memoryview) -> memoryview:
    return header[8 if header[:4] == _CONTINUATION else 4 :]


def _rows(header: memoryview) -> int:
    message = _Table.root(header)
    if message.byte(_TYPE_OF_HEADER) != _RECORD_BATCH:
        raise pa.ArrowInvalid("the header of a record batch is that of something else")
    batch = message.table(_HEADER_OF_MESSAGE)
    rows = batch.long(_LENGTH_OF_BATCH)
    if not 0 <= rows <= MOST_UNIT_ROWS:
        raise pa.ArrowInvalid("a record batch has an impossible number of rows")
    # Each column says the same once more. One number alone is not believed: rows that are lost
    # are rejected one by one, and damage can make a hundred billion of seven.
    nodes, first = batch.vector(_NODES_OF_BATCH)
    if not nodes:
        raise pa.ArrowInvalid("the header of a record batch lacks a part")
    if struct.unpack_from("<q", batch.body, first)[0] != rows:
        raise pa.ArrowInvalid("the header of a record batch contradicts itself")
    return rows


class _Table:
    """A table of a flatbuffer, which begins with the way back to the places of its fields."""

    def __init__(self, body: memoryview, at: int) -> None:
        self.body = body
        self._at = at
        self._fields = at - self._read("<i", at)

    @classmethod
    def root(cls, body: memoryview) -> _Table:
        return cls(body, struct.unpack_from("<I", body)[0])

    def table(self, field: int) -> _Table:
        return _Table(self.body, self._target(field))

    def vector(self, field: int) -> tuple[int, int]:
        """Return how many items there are, and where the first one is."""
        if self._place(field) is None:
            return 0, 0
        target = self._target(field)
        return self._read("<I", target), target + 4

    def long(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._read("<q", place)

    def byte(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._read("<B", place)

    def _target(self, field: int) -> int:
        place = self._place(field)
        if place is None:
            raise pa.ArrowInvalid("the header of a record batch lacks a part")
        return place + self._read("<I", place)

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot >= self._read("<H", self._fields):
            return None
        offset = self._read("<H", self._fields + slot)
        return self._at + offset if offset else None

    def _read(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(kind, self.body, at)[0])
