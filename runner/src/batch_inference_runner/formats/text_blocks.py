"""A byte range of a text file as blocks of whole rows, whatever the size of the range."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batch_inference_runner.formats.compressed_text import (
    TruncatedInput,
    compression_of,
    decompressed,
)
from batch_inference_runner.formats.read_ahead import read_ahead
from batch_inference_runner.rows import UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    from batch_inference_runner.formats.foreign_file import ForeignFile
    from batch_inference_runner.rows import Indices

    RowEnds = Callable[[bytes], Indices]

MAX_ROW_BYTES = 16 * 1024 * 1024
BOM = b"\xef\xbb\xbf"
# The first block is small so that the first row is scored soon.
_FIRST_BLOCK_BYTES = 1024 * 1024
_BLOCK_BYTES = 8 * 1024 * 1024


class TextBlock(NamedTuple):
    """Whole rows: `starts` and `ends` are positions in `text`, which begins at byte `offset`.

    Ends are behind the newline, which the last row of the file may lack.
    `unreadable` are rows that were dropped before they could be split: too long, or lost.
    """

    text: bytes
    offset: int
    starts: Indices
    ends: Indices
    unreadable: tuple[UnreadableRows, ...] = ()

    def without_blank(self, blanks: bytes, *, most_bytes: int) -> tuple[Indices, Indices]:
        """Starts and ends of all rows but those that are `most_bytes` of only `blanks`, or less."""
        text = np.frombuffer(self.text, np.uint8)
        is_blank = np.zeros(256, bool)
        is_blank[list(blanks)] = True
        blank = np.flatnonzero(self.ends - self.starts <= most_bytes)
        for position in range(most_bytes):
            if not len(blank):
                return self.starts, self.ends
            at = self.starts[blank] + position
            is_behind = at >= self.ends[blank]
            blank = blank[is_behind | is_blank[text[np.minimum(at, len(text) - 1)]]]
        return np.delete(self.starts, blank), np.delete(self.ends, blank)


def text_parts(
    foreign: ForeignFile, start: int, stop: int, *, pool: ThreadPoolExecutor
) -> Iterator[bytes]:
    """Read [start, stop) as parts of growing size; ahead of use where a read is a request."""
    tasks = _part_ranges(start, stop)
    if foreign.ranged is None:
        for offset, length in tasks:
            foreign.arrow.seek(offset)
            yield foreign.arrow.read(length)
        return
    fetch = foreign.source.read_at
    for _, body in read_ahead(tasks, lambda task: bytes(fetch(*task)), pool=pool):
        yield body


def _part_ranges(start: int, stop: int) -> Iterator[tuple[int, int]]:
    length = _FIRST_BLOCK_BYTES
    while start < stop:
        yield start, min(length, stop - start)
        start += length
        length = min(length * 2, _BLOCK_BYTES)


def text_blocks(
    foreign: ForeignFile,
    start: int,
    stop: int,
    *,
    row_ends: RowEnds,
    quoted: bool,
    pool: ThreadPoolExecutor,
) -> Generator[TextBlock, None, None]:
    """Split the range into blocks of whole rows, decompressing a file that is compressed.

    A row above 16 MiB is rejected and never held in memory; `quoted` says that newlines inside of
    quotes do not end it. Offsets count uncompressed bytes.
    """
    parts = text_parts(foreign, start, stop, pool=pool)
    if start == 0:
        compression = compression_of(bytes(foreign.source.read_at(0, min(4, foreign.size))))
        if compression is not None:
            parts = decompressed(foreign, parts, compression)
    yield from _Splitter(start, row_ends, quoted=quoted).blocks(parts)


class _Splitter:
    """Turns parts of any size into blocks of whole rows."""

    def __init__(self, offset: int, row_ends: RowEnds, *, quoted: bool) -> None:
        self._offset = offset
        self._quoted = quoted
        self._skipping = False
        self._quotes = 0
        self._row_ends = row_ends
        self._carry: list[bytes] = []
        self._carried = 0
        self._unreadable: list[UnreadableRows] = []

    def blocks(self, parts: Iterable[bytes]) -> Iterator[TextBlock]:
        damaged = False
        joined = 0
        parts = iter(parts)
        while True:
            try:
                part = next(parts, None)
            except TruncatedInput:
                damaged = True
                break
            if part is None:
                break
            if self._skipping:
                part = self._skipped(part)  # what is left of it
            self._carry.append(part)
            joined += len(part)
            # a long row is searched again only when the text doubled: linear in all
            if joined >= max(1, min(self._carried, MAX_ROW_BYTES)):
                yield from self._complete_rows()
                joined = 0
        yield from self._rest(damaged=damaged)

    def _complete_rows(self) -> Iterator[TextBlock]:
        text = b"".join(self._carry)
        text = self._without_bom(text)
        ends = self._row_ends(text)
        length = int(ends[-1]) if len(ends) else 0
        if length:
            yield self._block(text[:length], ends)
        self._carry = [text[length:]]
        self._offset += length
        self._carried = len(text) - length
        if self._carried > MAX_ROW_BYTES:
            self._give_up_row()

    def _give_up_row(self) -> None:
        text = self._carry.pop()
        self._reject(self._offset, "RowTooLong", "the row is longer than 16 MiB")
        self._offset += len(text)
        self._carried = 0
        self._skipping, self._quotes = True, text.count(b'"')

    def _skipped(self, part: bytes) -> bytes:
        view = np.frombuffer(part, np.uint8)
        newlines = np.flatnonzero(view == ord("\n"))
        if self._quoted:
            quotes = np.flatnonzero(view == ord('"'))
            before = np.searchsorted(quotes, newlines) + self._quotes
            newlines = newlines[before % 2 == 0]
            self._quotes += len(quotes)
        self._skipping = not len(newlines)
        dropped = len(part) if self._skipping else int(newlines[0]) + 1
        self._offset += dropped
        return part[dropped:]

    def _without_bom(self, text: bytes) -> bytes:
        if self._offset == 0 and text.startswith(BOM):
            self._offset = len(BOM)
            return text[len(BOM) :]
        return text

    def _rest(self, *, damaged: bool) -> Iterator[TextBlock]:
        yield from self._complete_rows()
        text = b"".join(self._carry)
        if damaged:
            self._reject(
                self._offset, "TruncatedInput", "the compressed file is damaged from here on"
            )
            text = b""
        if text or self._unreadable:
            yield self._block(text, np.array([len(text)] if text else [], np.int64))

    def _block(self, text: bytes, ends: Indices) -> TextBlock:
        starts = np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1]))
        long = ends - starts > MAX_ROW_BYTES
        for start in starts[long]:
            self._reject(self._offset + int(start), "RowTooLong", "the row is longer than 16 MiB")
        unreadable, self._unreadable = tuple(self._unreadable), []
        return TextBlock(text, self._offset, starts[~long], ends[~long], unreadable)

    def _reject(self, offset: int, error: str, message: str) -> None:
        self._unreadable.append(UnreadableRows(np.array([offset], np.int64), error, message))
