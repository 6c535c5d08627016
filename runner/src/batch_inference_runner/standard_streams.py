"""Standard streams that never fail: a result counts, whether or not somebody can be told of it.

Loaded before everything else, so that no data file is ever opened as descriptor 0, 1 or 2.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def make_safe() -> None:
    """Open those that are closed on /dev/null, and drop what cannot be printed from now on."""
    for descriptor in (0, 1, 2):
        _open_if_closed(descriptor)
    sys.stdout = _text_stream(1, sys.stdout)
    sys.stderr = _text_stream(2, sys.stderr)


def _open_if_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        _lead_nowhere(descriptor)


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - positional only


def _text_stream(descriptor: int, like: TextIO | None) -> TextIO:
    """Make a stream of the settings of another, which is None where Python found none."""
    raw = _Lossy(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", "utf-8"),
        errors=getattr(like, "errors", "backslashreplace"),
        line_buffering=getattr(like, "line_buffering", True),
        write_through=getattr(like, "write_through", False),
    )


class _Lossy(io.FileIO):
    """Leads nowhere from its first error on: the reader has gone, or the disk is full."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            _lead_nowhere(self.fileno())
            if self.fileno() == 1:
                sys.stderr.write(f"note: stdout cannot be written: {error.strerror}\n")
                sys.stderr.flush()
            return memoryview(data).nbytes
        return written
