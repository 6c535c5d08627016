"""A supervised child: `bij driver` or `bij worker` as a process of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MODULE = "batch_inference_runner"


class Child:
    """A running child; `beats` is the reading end of its pipe, and does not block."""

    def __init__(self, pid: int, beats: int) -> None:
        self.pid = pid
        self.beats = beats

    @classmethod
    def spawn(cls, command: Sequence[str], *, options: Sequence[str] = ()) -> Child:
        """Start `bij` with the words of `command`, and with `options` for the heartbeat's side."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        os.set_inheritable(writer, True)  # noqa: FBT003 - positional only
        words = (*command, *options, "--heartbeat", str(writer), "--parent", str(os.getpid()))
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", _MODULE, *words],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            )
        finally:
            os.close(writer)
        return cls(pid, reader)

    def signal(self, number: int) -> None:
        """Send a signal. The child was not waited for yet, so its id is still its own."""
        os.kill(self.pid, number)

    def read(self) -> bytes:
        """What came since the last time."""
        try:
            return os.read(self.beats, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.beats)
