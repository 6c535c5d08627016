"""JSON Lines: one object a line, whole blocks at once, single lines only where a block fails.

pyarrow's JSON reader is fast and too lenient for counting: it joins broken neighbours, reads two
objects of one line as two rows, accepts invalid UTF-8 and `Inf`, and overflows its stack on deep
nesting. So a block is given to it only when each line begins with `{`, ends with `}`, is valid
UTF-8, has no such number and cannot be nested deeply; and what comes back counts only if there are
as many rows as lines. (A line that ends with `}` cannot continue on one that begins with `{`, and a
newline inside of a string is an error, so equal counts mean equal rows.)
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from batch_inference_runner.formats.bisected import decode_bisected
from batch_inference_runner.formats.byte_places import byte_places
from batch_inference_runner.formats.columns import ColumnPath, empty_table, take_columns
from batch_inference_runner.formats.foreign_file import ForeignFile, read_pieces
from batch_inference_runner.formats.json_values import (
    MAX_DEPTH,
    BadLine,
    conform,
    parse_line,
)
from batch_inference_runner.formats.text_blocks import TextBlock, text_blocks
from batch_inference_runner.formats.utf8 import is_utf8
from batch_inference_runner.rows import CHUNK_ROWS, Chunk, Positions, UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.plan.plan import InputFile, Piece, Shard
    from batch_inference_runner.rows import Indices

_FEW_LINES = 8
_STRING = re.compile(rb'"(?:[^"\\\n]++|\\.)*+"')
_BLANK = b" \t\r\n"
# Numbers that pyarrow reads and `parse_line` rejects; `-Inf` ends as `Inf` does.
_OTHER_NUMBERS = tuple(
    (number, re.compile(number + rb"[ \t\r]*[,}\]]")) for number in (b"Inf", b"-NaN")
)


def line_ends(text: bytes) -> Indices:
    """Find the end, behind the newline, of every complete line."""
    return byte_places(np.frombuffer(text, np.uint8), ord("\n")) + 1


class _Part(NamedTuple):
    """Rows decoded from lines [first, last) of a block; `kept` are the lines that became rows."""

    table: pa.Table
    kept: Indices
    bad: tuple[tuple[int, BadLine], ...] = ()


class JsonLinesReader:
    """Reads shards of JSON Lines files; see reading.ShardReader."""

    def __init__(
        self,
        files: Sequence[InputFile],
        open_file: OpenFile,
        *,
        schema: pa.Schema,
        columns: Sequence[ColumnPath],
    ) -> None:
        self._files = files
        self._open_file = open_file
        self._columns = tuple(columns)
        self._schema = schema
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="fetch")

    def close(self) -> None:
        """End the fetching threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def chunks(
        self,
        shard: Shard,
        *,
        frugal: bool = False,  # noqa: ARG002 (blocks of text are small anyway)
    ) -> Iterator[Chunk]:
        return read_pieces(shard, self._piece, files=self._files, open_file=self._open_file)

    def _piece(self, foreign: ForeignFile, piece: Piece) -> Iterator[Chunk]:
        partitions = dict(foreign.file.partition_values)
        wanted = _wanted(self._schema, self._columns, partitions)
        blocks = text_blocks(
            foreign, piece.start, piece.stop, row_ends=line_ends, quoted=False, pool=self._pool
        )
        for block in blocks:
            if block.unreadable:
                start = Positions(offsets=np.empty(0, np.int64))
                yield Chunk(piece.file, empty_table(self._columns), start, block.unreadable)
            part = _joined(list(_decode(block, wanted)))
            if part is not None:
                yield from self._as_chunks(piece.file, part, partitions)

    def _as_chunks(self, file: int, part: _Part, partitions: dict[str, str]) -> Iterator[Chunk]:
        table = take_columns(part.table, self._columns, partitions)
        unreadable = tuple(
            UnreadableRows(np.array([offset], np.int64), bad.error, str(bad))
            for offset, bad in part.bad
        )
        for start in range(0, max(1, table.num_rows), CHUNK_ROWS):
            rows = min(CHUNK_ROWS, table.num_rows - start)
            offsets = part.kept[start : start + rows]
            yield Chunk(file, table.slice(start, rows), Positions(offsets=offsets), unreadable)
            unreadable = ()


def _joined(parts: list[_Part]) -> _Part | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    table = pa.concat_tables([part.table for part in parts])
    kept = np.concatenate([part.kept for part in parts])
    bad = tuple(line for part in parts for line in part.bad)
    return _Part(table.combine_chunks(), kept, bad)


def _wanted(
    schema: pa.Schema, columns: Sequence[ColumnPath], partitions: dict[str, str]
) -> pa.Schema:
    roots = dict.fromkeys(path.root for path in columns if path.root not in partitions)
    if not roots:  # something must be parsed to know that a line is a row
        roots = dict.fromkeys(name for name in schema.names[:1] if name not in partitions)
    return pa.schema([schema.field(name) for name in roots])


def _decode(block: TextBlock, wanted: pa.Schema) -> Iterator[_Part]:
    # A longer line of blanks is found when it fails to parse.
    starts, ends = block.without_blank(_BLANK, most_bytes=16)
    lines = _Lines(block, starts, ends, wanted)
    yield from decode_bisected(len(starts), lines.at_once, lines.singly, few=_FEW_LINES)


class _Lines:
    """The lines of one block, decoded at once or singly."""

    def __init__(self, block: TextBlock, starts: Indices, ends: Indices, wanted: pa.Schema) -> None:
        self._text = block.text
        self._offset = block.offset
        self._starts = starts
        self._ends = ends
        self._wanted = wanted
        self._types = {field.name: field.type for field in wanted}

    def at_once(self, first: int, last: int) -> _Part | None:
        """Decode lines as one text; None unless every line is certainly one good row."""
        begin, end = int(self._starts[first]), int(self._ends[last - 1])
        text = self._text if end - begin == len(self._text) else self._text[begin:end]
        if not self._types or not self._is_regular(text, first, last) or not is_utf8(text):
            return None
        if _may_hold_other_numbers(text):
            return None
        try:
            table = pj.read_json(
                pa.BufferReader(text),
                read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
                parse_options=pj.ParseOptions(
                    explicit_schema=self._wanted, unexpected_field_behavior="ignore"
                ),
            )
        except MemoryError:
            raise  # it is none of these rows' fault
        except (pa.ArrowException, ValueError, OverflowError):
            return None
        if table.num_rows != last - first:
            return None
        return _Part(table, self._starts[first:last] + self._offset)

    def _is_regular(self, text: bytes, first: int, last: int) -> bool:
        view = np.frombuffer(text, np.uint8)
        starts = self._starts[first:last] - self._starts[first]
        ends = self._ends[first:last] - self._starts[first]
        final = view[ends - 1]
        has_newline = final == ord("\n")
        final = np.where(has_newline, view[np.maximum(ends - 2, 0)], final)
        is_cr = final == ord("\r")
        if is_cr.any():
            final = np.where(is_cr, view[np.maximum(ends - 3, 0)], final)
        objects = (view[starts] == ord("{")).all() and (final == ord("}")).all()
        return bool(objects) and _is_shallow(text, view, starts, ends)

    def singly(self, first: int, last: int) -> _Part:
        """Decode line by line; a line of blanks is no row."""
        rows, kept, bad = [], [], []
        for index in range(first, last):
            start = int(self._starts[index])
            line = self._text[start : int(self._ends[index])]
            if not line.strip(_BLANK):
                continue
            try:
                rows.append(conform(parse_line(line), self._types))
                kept.append(start + self._offset)
            except BadLine as reason:
                bad.append((start + self._offset, reason))
        columns = {
            field.name: pa.array([row[field.name] for row in rows], field.type)
            for field in self._wanted
        }
        # objects without any key are rows, too
        table = pa.table(columns or {"": pa.nulls(len(rows))})
        return _Part(table, np.array(kept, np.int64), tuple(bad))


def _may_hold_other_numbers(text: bytes) -> bool:
    """Whether there may be `Inf`, `-Inf` or `-NaN`, by which lines would differ from `singly`.

    What looks so inside of a string only makes its line be decoded singly. Most text has not even
    the letters, and looking for these alone takes a twentieth of decoding.
    """
    return any(letters in text and number.search(text) for letters, number in _OTHER_NUMBERS)


def _is_shallow(text: bytes, view: np.ndarray, starts: Indices, ends: Indices) -> bool:
    """Whether no line nests deeper than MAX_DEPTH; brackets inside of strings count, too."""
    openings = text.count(b"{") + text.count(b"[")
    if openings - len(starts) < MAX_DEPTH:
        return True  # every line has one, and not even all others in one line are too many
    opened = _brackets(view, "{")
    per_line = np.searchsorted(opened, ends) - np.searchsorted(opened, starts)
    return bool(per_line.max() <= MAX_DEPTH) or _depth(_STRING.sub(b"", text)) <= MAX_DEPTH


def _brackets(view: np.ndarray, curly: str) -> Indices:
    return np.flatnonzero((view | 0x20) == ord(curly))  # a square bracket is a curly one less a bit


def _depth(text: bytes) -> int:
    """How deep lines of JSON nest at most, strings being removed.

    An unbalanced line is an error at which pyarrow stops: what it does to later ones is harmless.
    """
    view = np.frombuffer(text, np.uint8)
    opened, closed = _brackets(view, "{"), _brackets(view, "}")
    steps = np.concatenate((np.ones(len(opened), np.int64), np.full(len(closed), -1)))
    order = np.argsort(np.concatenate((opened, closed)), kind="stable")
    return int(np.cumsum(steps[order]).max(initial=0))
