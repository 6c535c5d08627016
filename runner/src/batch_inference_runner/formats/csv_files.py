"""CSV: rows split by their quotes, read as text, cast column by column.

pyarrow parses whole blocks; how many rows a block has is known before, from csv_rows, and a block
that comes back with another number is parsed again in halves until the rows that do not parse stand
alone. Rows with too few or too many values, invalid UTF-8 or an unclosed quote are rejected at
their byte offset, as are rows with a value that does not fit its column.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv

from batch_inference_runner.formats.bisected import decode_bisected
from batch_inference_runner.formats.columns import ColumnPath, empty_table, take_columns
from batch_inference_runner.formats.csv_first_row import (
    LINE_END,
    blocks_of,
    column_names,
    dialect_of,
    read_first_row,
)
from batch_inference_runner.formats.csv_rows import (
    CsvDialect,
    has_lone_return,
    is_closed,
    is_well_quoted,
    row_ends,
)
from batch_inference_runner.formats.csv_values import cast_key, cast_text
from batch_inference_runner.formats.foreign_file import ForeignFile, read_pieces
from batch_inference_runner.formats.text_blocks import TextBlock, text_blocks
from batch_inference_runner.formats.utf8 import is_utf8
from batch_inference_runner.rows import CHUNK_ROWS, Chunk, Positions, UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch_inference_api.runner_contract import CsvOptions
    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.plan.plan import InputFile, Piece, Shard
    from batch_inference_runner.rows import Indices


class Mistake(Enum):
    """Why a row is none: its class of error, and what to say of it."""

    UTF8 = ("InvalidUtf8", "the row is not valid UTF-8")
    COUNT = ("InvalidCsvRow", "the row does not have as many values as there are columns")
    QUOTES = (
        "InvalidCsvRow",
        "the row has text behind a closing quote: a quote inside a quoted value must be doubled",
    )
    RETURN = ("InvalidCsvRow", "the row holds a CR, outside of quotes, that does not end it")
    UNCLOSED = ("UnclosedQuote", "a quoted value is not closed before the end of the file")


def has_more_rows(
    foreign: ForeignFile, than: int, dialect: CsvDialect, *, pool: ThreadPoolExecutor
) -> bool:
    """Tell whether a file holds more than so many rows; it is read until that is known."""
    blocks = blocks_of(foreign, dialect, pool)
    rows = 0
    try:
        for block in blocks:
            starts, _ = block.without_blank(LINE_END, most_bytes=len(LINE_END))
            rows += len(starts) + len(block.unreadable)
            if rows > than:
                return True
    finally:
        blocks.close()
    return False


class ParsedRows(NamedTuple):
    """Rows of a block as text: `kept` are row numbers of the block, `bad` (row, mistake)."""

    table: pa.Table
    kept: Indices
    bad: tuple[tuple[int, Mistake], ...] = ()

    @property
    def is_of_other_width(self) -> bool:
        """Whether every row has too few or too many values."""
        is_count = all(mistake is Mistake.COUNT for _, mistake in self.bad)
        return is_count and bool(self.bad) and not len(self.kept)


class CsvRows:
    """The rows of one block, parsed as text columns."""

    def __init__(
        self, block: TextBlock, dialect: CsvDialect, *, names: Sequence[str], wanted: Sequence[str]
    ) -> None:
        self.starts, self._ends = block.without_blank(LINE_END, most_bytes=len(LINE_END))
        self._text = block.text
        self._dialect = dialect
        self._names = names
        self._wanted = list(wanted)

    def skip_first(self) -> None:
        """Leave out the header."""
        self.starts, self._ends = self.starts[1:], self._ends[1:]

    def parse(self) -> ParsedRows:
        """Parse all rows; those that are no rows of `names` are in `bad`."""
        parts = list(decode_bisected(len(self.starts), self._at_once, self._singly, few=1))
        if len(parts) == 1:
            return parts[0]
        table = pa.concat_tables([self._nothing(), *(part.table for part in parts)])
        kept = np.concatenate([np.empty(0, np.int64), *(part.kept for part in parts)])
        return ParsedRows(
            table.combine_chunks(), kept, tuple(row for part in parts for row in part.bad)
        )

    def _at_once(self, first: int, last: int) -> ParsedRows | None:
        text = self._text[self.starts[first] : self._ends[last - 1]]
        # a quote that is open at the end would be taken for a closed one
        if not is_utf8(text) or not is_closed(self._row(last - 1), self._dialect):
            return None
        if not is_well_quoted(text, self._dialect):
            return None
        # pyarrow would begin a row behind a lone CR, and that could make up for one that is missing
        if has_lone_return(text, self._dialect):
            return None
        wrong: list[int] = []

        def skip(row: pv.InvalidRow) -> str:
            wrong.append(row.number - 1)
            return "skip"

        try:
            table = self._read(text, skip)
        except MemoryError:
            raise  # it is none of these rows' fault
        except (pa.ArrowException, ValueError, OverflowError):
            return None
        if table.num_rows + len(wrong) != last - first:
            return None
        kept = np.arange(first, last, dtype=np.int64)
        if wrong:
            kept = np.delete(kept, wrong)
        return ParsedRows(table, kept, tuple((first + row, Mistake.COUNT) for row in wrong))

    def _read(self, text: bytes, skip: object) -> pa.Table:
        return pv.read_csv(
            pa.BufferReader(text),
            read_options=pv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=list(self._names)
            ),
            parse_options=pv.ParseOptions(
                delimiter=self._dialect.delimiter.decode(),
                newlines_in_values=self._dialect.multiline,
                invalid_row_handler=skip,
            ),
            convert_options=pv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(self._names, pa.string()),
                include_columns=self._wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _singly(self, first: int, _last: int) -> ParsedRows:
        return ParsedRows(self._nothing(), np.empty(0, np.int64), ((first, self._mistake(first)),))

    def _mistake(self, row: int) -> Mistake:
        text = self._row(row)
        if not is_utf8(text):
            return Mistake.UTF8
        if not is_closed(text, self._dialect):
            return Mistake.UNCLOSED
        if not is_well_quoted(text, self._dialect):
            return Mistake.QUOTES
        return Mistake.RETURN if has_lone_return(text, self._dialect) else Mistake.COUNT

    def _row(self, row: int) -> bytes:
        return self._text[self.starts[row] : self._ends[row]]

    def _nothing(self) -> pa.Table:
        return pa.schema([pa.field(name, pa.string()) for name in self._wanted]).empty_table()


class CsvReader:
    """Reads shards of CSV files; see reading.ShardReader."""

    def __init__(
        self,
        files: Sequence[InputFile],
        open_file: OpenFile,
        *,
        schema: pa.Schema,
        columns: Sequence[ColumnPath],
        options: CsvOptions,
        key: str | None,
    ) -> None:
        self._files = files
        self._open_file = open_file
        self._schema = schema
        self._columns = tuple(columns)
        self._options = options
        self._key = key
        self._dialect = dialect_of(options)
        self._names: dict[int, tuple[str, ...]] = {}
        self._lock = threading.Lock()
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
        names = self._file_names(foreign, piece.file)
        wanted = _wanted(names, self._columns, dict(foreign.file.partition_values))
        header = self._options.header and piece.start == 0
        blocks = text_blocks(
            foreign,
            piece.start,
            piece.stop,
            row_ends=partial(row_ends, dialect=self._dialect),
            quoted=self._dialect.multiline,
            pool=self._pool,
        )
        for block in blocks:
            rows = CsvRows(block, self._dialect, names=names, wanted=wanted)
            if header and len(rows.starts):
                rows.skip_first()
                header = False
            yield from self._as_chunks(foreign.file, piece.file, block, rows)

    def _file_names(self, foreign: ForeignFile, file: int) -> tuple[str, ...]:
        with self._lock:
            known = self._names.get(file)
        if known is None:
            first = read_first_row(foreign, self._dialect, pool=self._pool)
            known = column_names(first, self._options)
            with self._lock:
                self._names[file] = known
        return known

    def _as_chunks(
        self, source: InputFile, file: int, block: TextBlock, rows: CsvRows
    ) -> Iterator[Chunk]:
        part = rows.parse()
        offsets = rows.starts + block.offset
        table, misfits = self._typed(part.table, offsets[part.kept])
        unreadable = (*block.unreadable, *_rejected(part.bad, offsets), *misfits.rejects)
        kept = offsets[part.kept][misfits.good]
        table = take_columns(table, self._columns, dict(source.partition_values))
        for start in range(0, max(1, table.num_rows), CHUNK_ROWS):
            count = min(CHUNK_ROWS, table.num_rows - start)
            if not count and not unreadable:
                return
            positions = Positions(offsets=kept[start : start + count])
            piece = table.slice(start, count) if count else empty_table(self._columns)
            yield Chunk(file, piece, positions, unreadable)
            unreadable = ()

    def _typed(self, table: pa.Table, offsets: Indices) -> tuple[pa.Table, _Misfits]:
        good = np.ones(table.num_rows, bool)
        rejects, columns = [], []
        for name in table.column_names:
            kind = self._schema.field(name).type
            cast = cast_key if name == self._key else cast_text
            column, bad = cast(table.column(name), kind)
            columns.append(column)
            if bad is not None and (bad & good).any():
                message = f"column {name!r} holds text that is not {kind}"
                if name == self._key:
                    message += " in its plain form: a key is written as 7, not as 007 or +7"
                rejects.append(UnreadableRows(offsets[bad & good], "TypeMismatch", message))
                good &= ~bad
        typed = pa.table(columns, names=table.column_names)
        if not rejects:
            return typed, _Misfits(slice(None), ())
        return typed.filter(pa.array(good)), _Misfits(good, tuple(rejects))


class _Misfits(NamedTuple):
    """Which rows fit their columns' types, as an index, and the rejects of the others."""

    good: np.ndarray | slice
    rejects: tuple[UnreadableRows, ...]


def _rejected(bad: Sequence[tuple[int, Mistake]], offsets: Indices) -> Iterator[UnreadableRows]:
    for mistake in dict.fromkeys(mistake for _, mistake in bad):
        rows = [row for row, other in bad if other is mistake]
        yield UnreadableRows(offsets[np.array(rows, np.int64)], *mistake.value)


def _wanted(
    names: Sequence[str], columns: Sequence[ColumnPath], partitions: dict[str, str]
) -> list[str]:
    roots = [path.root for path in columns if path.root not in partitions]
    # without any column the rows could not be counted
    return list(dict.fromkeys(roots)) or list(names[:1])
