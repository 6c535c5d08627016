"""Standard streams that are there, and that fail only where nothing but their text was asked for.

Made safe before anything else is opened, which would become descriptor 0, 1 or 2.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from batch_inference_operator.kubectl_bij.errors import CommandFailed, ReaderGone

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def make_safe() -> None:
    """Open those that are closed on /dev/null, and drop what cannot be printed from now on."""
    for descriptor in (0, 1, 2):
        _open_if_closed(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = _text_stream(_Lossy(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text_stream(_Lossy(2, "w", closefd=False), sys.stderr)


def require_stdout() -> None:
    """End the command, from now on, at the first line of stdout that cannot be printed.

    Whoever prints there then hears of it:
        ReaderGone: nobody reads on.
        CommandFailed: it cannot be written.
    """
    sys.stdout = _text_stream(_Required(1, "w", closefd=False), sys.stdout)


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


def _text_stream(raw: _Lossy, like: TextIO | None) -> TextIO:
    """Make a stream of the settings of another, which is None where Python found none."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", "utf-8"),
        errors=getattr(like, "errors", "backslashreplace"),
        line_buffering=True,
    )


class _Lossy(io.FileIO):
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
            sys.stderr.write(f"note: {_explain(error)}\n")


class _Required(_Lossy):
    """Raises its first error, and leads nowhere then."""

    def lose(self, error: OSError) -> None:
        if error.errno == errno.EPIPE:
            raise ReaderGone from error
        raise CommandFailed(_explain(error)) from error


def _explain(error: OSError) -> str:
    return f"stdout cannot be written: {error.strerror}"
