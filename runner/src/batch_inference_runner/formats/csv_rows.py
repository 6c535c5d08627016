"""Where the rows of CSV text begin and end.

A quote opens a quoted value only at the beginning of a value, and inside it `""` is one quote.
Rows end with LF or CRLF outside of quoted values. In text where every quote stands where it should,
that is the same as: rows end at newlines that an even number of quotes precede, which NumPy finds
at memory speed; only other text is scanned value by value.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batch_inference_runner.formats.byte_places import byte_places

if TYPE_CHECKING:
    from batch_inference_runner.rows import Indices

_QUOTE, _LF, _CR = 34, 10, 13
_LONE_RETURN = re.compile(rb"\r(?!\n)")


class CsvDialect(NamedTuple):
    """The delimiter, one byte, and whether quoted values may hold newlines."""

    delimiter: bytes = b","
    multiline: bool = True


def row_ends(text: bytes, dialect: CsvDialect) -> Indices:
    """Find the end, behind the newline, of every complete row of `text`, which starts a row."""
    view = np.frombuffer(text, np.uint8)
    newlines = byte_places(view, _LF)
    if not dialect.multiline or b'"' not in text:
        newlines += 1
        return newlines
    quotes = byte_places(view, _QUOTE)
    if not quotes_are_regular(view, quotes, dialect):
        return _scanned_ends(text, dialect)
    outside = np.searchsorted(quotes, newlines) % 2 == 0
    ends: Indices = newlines[outside] + 1
    return ends


def quotes_are_regular(view: np.ndarray, quotes: Indices, dialect: CsvDialect) -> bool:
    """Whether every quote opens at the start of a value, closes at its end, or is doubled.

    `view` is uint8 text that starts outside of quotes. A closing quote at its very end counts as
    regular, an unclosed one too.
    """
    edges = np.zeros(256, bool)
    edges[[_QUOTE, _LF, dialect.delimiter[0]]] = True
    opening, closing = quotes[::2], quotes[1::2]
    before = view[opening[opening > 0] - 1]
    after = view[closing[closing < len(view) - 1] + 1]
    return bool(edges[before].all() and (edges[after] | (after == _CR)).all())


def is_closed(row: bytes, dialect: CsvDialect) -> bool:
    """Whether one row, with or without the newline at its end, closes its quoted values."""
    if b'"' not in row:
        return True
    text = row if row.endswith(b"\n") else row + b"\n"
    match = _pattern(dialect.delimiter).match(text)
    return match is not None and match.end() == len(text)


def is_well_quoted(rows: bytes, dialect: CsvDialect) -> bool:
    """Whether nothing but the end of the value follows a quoted value, in all of these rows.

    Text behind a closing quote is what an open quote in one row and a quoted value in the next
    look like; pyarrow takes both for one value. A quote inside an unquoted value is only text.
    """
    if b'"' not in rows:
        return True
    view = np.frombuffer(rows, np.uint8)
    if quotes_are_regular(view, byte_places(view, _QUOTE), dialect):
        return True
    text = rows if rows.endswith(b"\n") else rows + b"\n"
    return _well_quoted(dialect.delimiter).fullmatch(text) is not None


@lru_cache(maxsize=8)
def _well_quoted(delimiter: bytes) -> re.Pattern[bytes]:
    edge = re.escape(delimiter)
    quoted = rb'"(?:[^"]++|"")*+"\r?(?=[' + edge + rb"\n])"
    value = rb"(?:" + quoted + rb'|(?!")[^' + edge + rb"\n]*+)"
    return re.compile(rb"(?:" + value + rb"(?:" + edge + value + rb")*+\n)*+", re.DOTALL)


def has_lone_return(rows: bytes, dialect: CsvDialect) -> bool:
    """Whether a CR stands outside of quoted values without an LF behind it."""
    if rows.count(b"\r") == rows.count(b"\r\n"):
        return False
    return _LONE_RETURN.search(_quoted(dialect.delimiter).sub(b"", rows)) is not None


@lru_cache(maxsize=8)
def _quoted(delimiter: bytes) -> re.Pattern[bytes]:
    # a quote inside an unquoted value opens nothing
    return re.compile(rb"(?:\A|(?<=[" + re.escape(delimiter) + rb'\n]))"(?:[^"]++|"")*+"')


def _scanned_ends(text: bytes, dialect: CsvDialect) -> Indices:
    ends, position = [], 0
    pattern = _pattern(dialect.delimiter)
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            break
        position = match.end()
        ends.append(position)
    return np.array(ends, np.int64)


@lru_cache(maxsize=8)
def _pattern(delimiter: bytes) -> re.Pattern[bytes]:
    # One complete row. Every repetition is possessive: nothing is tried twice.
    edge = re.escape(delimiter)
    rest = rb"[^" + edge + rb"\n]*+"
    value = rb'(?:"(?:[^"]++|"")*+"' + rest + rb"|(?!\")" + rest + rb")"
    return re.compile(value + rb"(?:" + edge + value + rb")*+\n", re.DOTALL)
