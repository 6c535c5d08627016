"""A scorer as a child process: spawned, talked to over a socket pair, killed when it must be.

Standard library only, so that the command line can spawn a scorer before it imports anything else:
the scorer's own imports then run beside the driver's.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from batch_inference_runner.score.messages import Message, receive, send
from batch_inference_runner.score.workspace import remove_workspace

if TYPE_CHECKING:
    from collections.abc import Callable

_MAIN = "from batch_inference_runner.score.process import main; main()"
_CLOSE_SECONDS = 5


class ScorerProcess:
    """One scorer. `send` and `close` belong to one thread; events are handed over by another."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._sending = threading.Lock()

    @classmethod
    def spawn(cls, *, gpu: int | None = None) -> ScorerProcess:
        """Start a scorer; it loads its libraries at once and waits for the first message.

        Call it from the main thread: the child asks the kernel to die with the thread that made it.
        `gpu` is the ordinal of the only GPU that it may see; None leaves the environment as it is.
        """
        environment = dict(os.environ)
        if gpu is not None:
            visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
            environment["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible[0] else str(gpu)
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(os.getpid())]
            process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                env=environment,
            )
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def listen(
        self, on_message: Callable[[Message], None], on_exit: Callable[[int], None]
    ) -> threading.Thread:
        """Hand over every message, then the exit status (negative: the signal that ended it)."""

        def pump() -> None:
            try:
                while (message := receive(self._connection)) is not None:
                    on_message(message)
            except ValueError:
                self.kill()  # its memory can no longer be trusted
            self._kill_unless_exiting()
            status = self._process.wait()
            remove_workspace(self.pid)
            on_exit(status)

        thread = threading.Thread(target=pump, name=f"scorer-{self.pid}", daemon=True)
        thread.start()
        return thread

    def send(self, message: Message) -> None:
        """Send a message; one that is lost because the scorer has died is followed by its exit."""
        try:
            with self._sending:
                send(self._connection, message)
        except OSError:
            return

    def _kill_unless_exiting(self) -> None:
        """Give a scorer that hung up a moment to exit by itself, so that its status is its own."""
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the scorer at once; whatever it had staged is garbage."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End the scorer and wait until it is gone."""
        self.kill()
        self._process.wait()
        self._connection.close()
        remove_workspace(self.pid)
