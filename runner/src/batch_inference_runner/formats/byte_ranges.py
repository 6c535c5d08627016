"""Cutting an uncompressed text file into byte ranges that start and end with rows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from batch_inference_runner.formats.byte_places import byte_places
from batch_inference_runner.formats.csv_rows import CsvDialect, quotes_are_regular
from batch_inference_runner.plan.plan import Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_runner.formats.foreign_file import ForeignFile

_WINDOW_BYTES = 64 * 1024
_SCAN_BYTES = 8 * 1024 * 1024


def cut_at_newlines(foreign: ForeignFile, target_bytes: int) -> tuple[Unit, ...]:
    """Cut behind the first newline at or after each multiple of `target_bytes`."""
    cuts = []
    wanted = target_bytes
    while wanted < foreign.size:
        cut = _after_newline(foreign, wanted - 1)
        if cut >= foreign.size:
            break
        cuts.append(cut)
        wanted = max(wanted + target_bytes, cut + 1)
    return units_between(cuts, foreign.size)


def _after_newline(foreign: ForeignFile, offset: int) -> int:
    window = _WINDOW_BYTES
    while offset < foreign.size:
        body = bytes(foreign.source.read_at(offset, min(window, foreign.size - offset)))
        index = body.find(b"\n")
        if index >= 0:
            return offset + index + 1
        offset += len(body)
        window = min(window * 4, _SCAN_BYTES)
    return foreign.size


def cut_outside_quotes(
    foreign: ForeignFile, target_bytes: int, dialect: CsvDialect
) -> tuple[Unit, ...]:
    """Cut at newlines that no quoted value holds; this reads the whole file, at memory speed.

    A file with quotes where none should be is not cut at all: where its rows end depends on every
    byte before.
    """
    cuts: list[int] = []
    inside, wanted, offset = 0, target_bytes, 0
    carried = b""
    while offset < foreign.size:
        foreign.arrow.seek(offset)
        text = carried + foreign.arrow.read(min(_SCAN_BYTES, foreign.size - offset))
        start = offset - len(carried)
        offset = start + len(text)
        # the last byte waits for the next round, which knows what follows it
        carried = text[-1:] if offset < foreign.size else b""
        view = np.frombuffer(text, np.uint8)
        body = view[: len(view) - len(carried)]
        quotes = byte_places(body, ord('"'))
        if not _regular(view, quotes, inside, dialect):
            return units_between([], foreign.size)
        while wanted < start + len(body):
            cut = _newline_outside(body, quotes, inside, wanted - 1 - start)
            if cut is None:
                break
            cuts.append(start + cut)
            wanted = max(wanted + target_bytes, start + cut + 1)
        if wanted < start + len(body):
            wanted = start + len(body)  # look on behind this part
        inside = (inside + len(quotes)) % 2
    return units_between(cuts, foreign.size)


def _regular(view: np.ndarray, quotes: np.ndarray, inside: int, dialect: CsvDialect) -> bool:
    if inside == 0:
        return quotes_are_regular(view, quotes, dialect)
    # pretend that the quoted value opened right before this part
    shifted = np.concatenate((np.array([ord('"')], np.uint8), view))
    return quotes_are_regular(shifted, np.concatenate(([0], quotes + 1)), dialect)


def _newline_outside(body: np.ndarray, quotes: np.ndarray, inside: int, offset: int) -> int | None:
    begin = max(0, offset)
    newlines = np.flatnonzero(body[begin:] == ord("\n")) + begin
    outside = newlines[(np.searchsorted(quotes, newlines) + inside) % 2 == 0]
    return int(outside[0]) + 1 if len(outside) else None


def units_between(cuts: Sequence[int], size: int) -> tuple[Unit, ...]:
    """Units that tile [0, size) with boundaries at `cuts`; none for an empty file."""
    edges = [0, *(cut for cut in cuts if cut < size), size]
    return tuple(Unit(start, stop, stop - start) for start, stop in pairwise(edges) if stop > start)
