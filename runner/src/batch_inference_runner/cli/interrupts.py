"""Turns SIGINT and SIGTERM into a stop event; the second signal ends the process at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from batch_inference_runner.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    _Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

_EXIT_CODES: dict[int, ExitCode] = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
}


class Interrupts:
    """While entered, the first signal sets `stop` and the second leaves without clean-up.

    Python runs signal handlers in the main thread, between two of its instructions: they would wait
    for a native call to return, and may not take locks. So a thread reads the signals from the
    wake-up descriptor instead. Enter it in the main thread only.
    """

    def __init__(self, stop: threading.Event, *, leave: Callable[[int], None] = os._exit) -> None:
        self._stop = stop
        self._leave = leave
        self._first: int | None = None
        self._previous: dict[int, _Handler] = {}

    @property
    def exit_code(self) -> ExitCode:
        """What an interrupted run exits with: 143 after SIGTERM, else 130."""
        return _EXIT_CODES.get(self._first or signal.SIGINT, ExitCode.INTERRUPTED)

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)  # noqa: FBT003 - positional only in the standard library
        for number in _EXIT_CODES:
            self._previous[number] = signal.signal(number, lambda *_: None)
        self._previous_descriptor = signal.set_wakeup_fd(self._writer.fileno())
        self._thread = threading.Thread(target=self._watch, name="bij-signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._previous_descriptor)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._writer.close()
        self._thread.join(timeout=1)
        self._reader.close()

    def _watch(self) -> None:
        while received := self._reader.recv(16):
            for number in received:
                if number in _EXIT_CODES:
                    self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if self._first is None:
            self._first = number
            self._stop.set()
            return
        # A live display may have hidden the cursor, and nobody else will bring it back.
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")
        self._leave(_EXIT_CODES[number])
