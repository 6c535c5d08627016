"""Standard streams that never fail: a result counts, whether or not somebody can be told of it.

Made safe before anything else is opened, which would become descriptor 0, 1 or 2.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def make_safe() -> None:
    """Open those that are closed on /dev/null, and drop what cannot be printed from now on."""
    for descriptor in (0, 1, 2):
        _open_if_closed(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = text_stream(Lossy(1, "w", closefd=False), sys.stdout)
    sys.stderr = text_stream(Lossy(2, "w", closefd=False), sys.stderr)


def end_process(code: int) -> NoReturn:
    """Print what is left and exit, whatever other threads do.

    Where one is left, Python's own end would wait for it, perhaps for minutes, or take the
    interpreter away below it: one that then returns from a socket ends the process by SIGSEGV.
    """
    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def text_stream(raw: Lossy, like: TextIO | None) -> TextIO:
    """Make a stream of the settings of another, which is None where Python found none.

    Each line is written at once, so that whoever prints it hears of an error.
    """
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", "utf-8"),
        errors=getattr(like, "errors", "backslashreplace"),
        line_buffering=True,
    )


class Lossy(io.FileIO):
    """Leads nowhere from its first error on: the reader has gone, or the disk is full."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            _lead_nowhere(self.fileno())
            self.lose(error)
            return memoryview(data).nbytes
        return written

    def lose(self, error: OSError) -> None:
        """Say so where it can be read: what counts is the exit code."""
        if self.fileno() == 1 and error.errno != errno.EPIPE:
            sys.stderr.write(f"note: {explain(error)}\n")
            sys.stderr.flush()


def explain(error: OSError) -> str:
    """Say in words that stdout has failed."""
    return f"stdout cannot be written: {error.strerror}"


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
