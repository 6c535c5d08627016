"""Decoding a block of rows of which a few cannot be decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Decoded = TypeVar("Decoded")


def decode_bisected(
    rows: int,
    decode: Callable[[int, int], Decoded | None],
    decode_singly: Callable[[int, int], Decoded],
    *,
    few: int,
) -> Iterator[Decoded]:
    """Decode rows 0..rows in parts, in order: as large as `decode` can.

    `decode(first, last)` gives None when it cannot decode all of its rows; once they are `few`,
    `decode_singly` has to. k bad rows cost about k * log2(rows) calls.
    """
    waiting = [(0, rows)] if rows else []
    while waiting:
        first, last = waiting.pop()
        decoded = decode(first, last)
        if decoded is not None:
            yield decoded
            continue
        if last - first <= few:
            yield decode_singly(first, last)
            continue
        middle = (first + last) // 2
        waiting += [(middle, last), (first, middle)]
