"""The first row of a CSV file: its header, or how many columns it has."""

from __future__ import annotations

import csv
import io
import re
import sys
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from batch_inference_api.choices import NewlinesInValues
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.csv_rows import (
    CsvDialect,
    has_lone_return,
    is_closed,
    is_well_quoted,
    row_ends,
)
from batch_inference_runner.formats.text_blocks import TextBlock, text_blocks
from batch_inference_runner.formats.utf8 import is_utf8

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import ThreadPoolExecutor

    from batch_inference_api.runner_contract import CsvOptions
    from batch_inference_runner.formats.foreign_file import ForeignFile

LINE_END = b"\r\n"
_SEARCHED_ROWS = 1000
_SEPARATOR_LINE = re.compile(rb'"?sep=[^\w\s"]?"?\s*', re.IGNORECASE)


class FirstRow(NamedTuple):
    """The first row that is not blank, and its offset; empty bytes for a file without rows.

    `model` is the first row whose values can be told apart, which is this row or one soon after;
    empty bytes where there is none. `is_behind_long` says that a row before was dropped, because
    it is too long.
    """

    offset: int
    text: bytes
    model: bytes
    is_behind_long: bool


def dialect_of(options: CsvOptions) -> CsvDialect:
    """Reduce the options to what splitting rows needs."""
    return CsvDialect(
        options.delimiter.encode(), options.newlines_in_values != NewlinesInValues.NEVER
    )


def blocks_of(
    foreign: ForeignFile, dialect: CsvDialect, pool: ThreadPoolExecutor
) -> Generator[TextBlock]:
    """Split a whole file into blocks of rows."""
    ends = partial(row_ends, dialect=dialect)
    return text_blocks(foreign, 0, foreign.size, row_ends=ends, quoted=dialect.multiline, pool=pool)


def read_first_row(
    foreign: ForeignFile, dialect: CsvDialect, *, pool: ThreadPoolExecutor
) -> FirstRow:
    """Read a file's first row, and on to the first whose values can be told apart."""
    with closing(_rows_of(foreign, dialect, pool)) as rows:
        found = next(rows, (0, b"", False))
        offset, text, is_behind_long = found
        near = (row for _, row, _ in islice(chain([found], rows), _SEARCHED_ROWS))
        model = next((row for row in near if _mistake(row, dialect) is None), b"")
    return FirstRow(offset, text, model, is_behind_long)


def _rows_of(
    foreign: ForeignFile, dialect: CsvDialect, pool: ThreadPoolExecutor
) -> Generator[tuple[int, bytes, bool]]:
    """Give every row that is not blank: its offset, its text, and whether a long one came before.

    A file that ends with a long row gives empty text for what follows it.
    """
    long_at: int | None = None
    with closing(blocks_of(foreign, dialect, pool)) as blocks:
        for block in blocks:
            for rows in block.unreadable:
                if rows.error == "RowTooLong" and long_at is None:
                    long_at = int(rows.positions[0])
            starts, stops = block.without_blank(LINE_END, most_bytes=len(LINE_END))
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                offset = block.offset + start
                yield offset, block.text[start:stop], long_at is not None and long_at < offset
    if long_at is not None:
        yield 0, b"", True


def column_names(first: FirstRow, options: CsvOptions) -> tuple[str, ...]:
    """Name a file's columns: the header's names, or f0, f1, ... for the values of a row.

    A header without a name for a column gives it the name of its place. Without a header a first
    row that is to be rejected says nothing of the others, so that another is counted.
    """
    text = first.text if options.header else first.model or first.text
    if not text:
        return ()
    csv.field_size_limit(sys.maxsize)  # without a header it may be any text
    lines = io.StringIO(text.decode(errors="replace"), newline="")
    # csv takes a CR for the end of a row: one that begins with it is still no file without rows
    values = next(filter(None, csv.reader(lines, delimiter=options.delimiter)), [""])
    named = options.header
    return tuple(value if named and value else f"f{place}" for place, value in enumerate(values))


def refuse_bad_header(first: FirstRow, dialect: CsvDialect, uri: str) -> None:
    """Refuse a file whose header is no text, or no row: it may have taken rows for names.

    Refuse the line `sep=;` as well, which spreadsheet programs write for themselves.

    Raises InvalidJob (INPUT_CORRUPT).
    """
    if first.is_behind_long:
        mistake: str | None = (
            "is longer than 16 MiB, as it is when a quote is not closed or lines end with CR "
            "alone: close every quote, and write the file with LF or CRLF"
        )
    elif _SEPARATOR_LINE.fullmatch(first.text):
        mistake = "is a line that says what separates values, for spreadsheets only: remove it"
    elif not is_utf8(first.text):
        mistake = "is not valid UTF-8: write the file as UTF-8"
    else:
        mistake = _mistake(first.text, dialect)
    if mistake is not None:
        raise InvalidJob(Reason.INPUT_CORRUPT, f"the header of {uri!r} {mistake}")


def _mistake(row: bytes, dialect: CsvDialect) -> str | None:
    """Say what keeps the values of a row from being told apart, and what to do; None if nothing."""
    if has_lone_return(row, dialect):
        return "holds or ends with a CR instead of LF: write the file with LF or CRLF"
    if not is_closed(row, dialect):
        return f"opens a quote that {_unclosed(dialect)}: close it, or leave it out"
    if not is_well_quoted(row, dialect):
        return (
            "has text behind a closing quote, or opens a quote that is not closed before the next "
            "one: close every quote, and write one that belongs to a name twice; or set "
            "spec.input.csv.delimiter to what separates the names"
        )
    return None


def _unclosed(dialect: CsvDialect) -> str:
    if dialect.multiline:
        return "is not closed before the end of the file"
    return "is not closed on its line, where spec.input.csv.newlinesInValues: Never ends the row"
