"""A stdout that ends the command which has nothing but its text to give."""

from __future__ import annotations

import errno
import sys

from batch_inference_api.standard_streams import Lossy, explain, text_stream
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ReaderGone


def require_stdout() -> None:
    """End the command, from now on, at the first line of stdout that cannot be printed.

    Whoever prints there then hears of it:
        ReaderGone: nobody reads on.
        CommandFailed: it cannot be written.
    """
    sys.stdout = text_stream(_Required(1, "w", closefd=False), sys.stdout)


class _Required(Lossy):
    """Raises its first error, and leads nowhere then."""

    def lose(self, error: OSError) -> None:
        if error.errno == errno.EPIPE:
            raise ReaderGone from error
        raise CommandFailed(explain(error)) from error
