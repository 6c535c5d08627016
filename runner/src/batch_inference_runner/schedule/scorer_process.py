"""A scorer as a child process: started, talked to over a socket pair, killed when it must be.

The command line starts a scorer before it imports anything else, so that the scorer's imports run
beside the driver's: hence no imports here that could wait, `subprocess` included.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from batch_inference_runner import lean_imports

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.score.messages import Message

_MAIN = "from batch_inference_runner.score.process import main; main()"
_CLOSE_SECONDS = 5.0


class ScorerProcess:
    """One scorer. Its methods may be called from any thread."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)  # a pid could be somebody else's by the time it is used
        self._connection = connection
        self._sending = threading.Lock()
        self._reaping = threading.Lock()
        self._status: int | None = None
        self._listener: threading.Thread | None = None
        self._closed = False

    @classmethod
    def spawn(cls, *, gpu: int | None = None) -> ScorerProcess:
        """Start a scorer; it loads its libraries at once and waits for the first message.

        Call it from the main thread, or from the run's: the child asks the kernel to die with the
        thread that made it.
        `gpu` is the ordinal of the only GPU that it may see; None leaves the environment as it is.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-c", _MAIN, str(theirs.fileno()), str(os.getpid())],
                _environment(gpu),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),  # libraries print to stdout, which is for results
                ],
                setsigmask=[signal.SIGINT],  # Ctrl-C reaches the whole group; the driver acts
            )
        return cls(pid, ours)

    @classmethod
    def fork(cls) -> ScorerProcess:
        """Start one as `spawn` does, 50 ms sooner: it goes on with the interpreter of this process.

        Call it before this process has started a thread, whose locks nobody would release in the
        child, and before it has imported what reads its environment only once, as NumPy does.
        """
        ours, theirs = socket.socketpair()
        driver = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # see `spawn`
        pid = os.fork()
        if pid == 0:
            ours.close()
            _be_scorer(theirs, driver)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        return cls(pid, ours)

    def listen(
        self, on_message: Callable[[Message], None], on_exit: Callable[[int], None]
    ) -> threading.Thread:
        """Hand over every message, then the exit status (negative: the signal that ended it)."""

        def pump() -> None:
            from batch_inference_runner.score.messages import receive

            try:
                while (message := receive(self._connection)) is not None:
                    on_message(message)
            except ValueError:
                self.kill()  # its memory can no longer be trusted
            on_exit(self._end())

        self._listener = threading.Thread(target=pump, name=f"scorer-{self.pid}", daemon=True)
        self._listener.start()
        return self._listener

    def send(self, message: Message) -> None:
        """Send a message; one that is lost because the scorer has died is followed by its exit."""
        from batch_inference_runner.score.messages import send

        try:
            with self._sending:
                send(self._connection, message)
        except OSError:
            return

    def kill(self) -> None:
        """End the scorer at once; whatever it had staged is garbage."""
        with self._reaping:
            if self._status is None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def close(self) -> None:
        """End the scorer and wait until it is gone. Safe to call twice, not from a listener."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        self._end()
        if self._listener is not None:
            self._listener.join()
        self._connection.close()
        os.close(self._handle)

    def _end(self) -> int:
        """Wait for the end, which a scorer that hung up gets a moment for, and clean up."""
        from batch_inference_runner.score.workspace import remove_workspace

        if self._exit_status(_CLOSE_SECONDS) is None:
            self.kill()
        status = self._exit_status(None)
        remove_workspace(self.pid)
        return -signal.SIGKILL if status is None else status

    def _exit_status(self, seconds: float | None) -> int | None:
        """Wait for the exit status; None if it did not come in time."""
        if self._status is not None:
            return self._status
        ended = select.poll()
        ended.register(self._handle, select.POLLIN)
        if not ended.poll(None if seconds is None else seconds * 1000):
            return None
        with self._reaping:
            if self._status is None:
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status


def _be_scorer(connection: socket.socket, driver: int) -> NoReturn:
    """Do in a fork what `spawn` has done for it, and serve."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.environ.update(_environment(None))
        with lean_imports.uncollected():
            from batch_inference_runner.score.process import serve

        serve(connection, driver)
    except BaseException:  # noqa: BLE001 - the edge of a process: a fork must not return
        import traceback

        traceback.print_exc()
    os._exit(1)


def _environment(gpu: int | None) -> dict[str, str]:
    environment = {
        **os.environ,
        # NumPy multiplies no matrices here, but its BLAS would start threads that spin for 70 ms.
        "OPENBLAS_NUM_THREADS": "1",
        # Otherwise ONNX Runtime tells its makers of every model, and keeps an id of this machine.
        "ORT_DISABLE_TELEMETRY": "1",
        # Arrow's default keeps what one thread has allocated and another has freed, so that memory
        # grows from shard to shard; kept address space counts against the scorer's limit.
        "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
        "JE_ARROW_MALLOC_CONF": "retain:false",
    }
    if gpu is not None:
        visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible[0] else str(gpu)
    return environment
