"""The loop of process 1: it waits for signals, for the end of its child, and for signs of life."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from batch_inference_api.pod_contract import LIVENESS_PORT
from batch_inference_runner.supervise.children import Child
from batch_inference_runner.supervise.decision import Leave, decide
from batch_inference_runner.supervise.heartbeat import Beat
from batch_inference_runner.supervise.liveness import Liveness
from batch_inference_runner.supervise.silence import TICK_SECONDS, Silence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STOP_SECONDS = 8.0
"""Of a pod's grace period, 10 seconds, what its child gets."""
_LEFT_BEHIND_SECONDS = 1.0
"""What a child leaves may take so long to tidy up: the keepers of Ray nodes remove their files."""
_ENDS = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Keeps one child running, and decides what its end means.

    Args:
        command: the words after `bij` that start a child.
        first: the child that runs already.
        began: when the pod began, on the monotonic clock.
        environ: BIJ_LIVENESS_PORT and BIJ_TERMINATION_LOG are looked at.
        silence: makes the count of a child's silence, given the time.
    """

    def __init__(
        self,
        command: Sequence[str],
        first: Child,
        *,
        began: float,
        environ: Mapping[str, str],
        silence: Callable[[float], Silence] = Silence,
    ) -> None:
        self._command = command
        self._is_driver = command[0] == "driver"
        self._began = began
        self._environ = environ
        self._new_silence = silence
        self._poll = select.poll()
        self._beat = Beat(attempt=1)
        self._restarts = 0
        self._restart_at = began
        self._stopping: int | None = None
        self._stop_at = began
        self._child: Child | None = None
        self._hung = False
        self._watch(first)

    def run(self, early: Sequence[int] = ()) -> int:
        """Supervise until the pod is to end; return its exit code. `early`: signals that came."""
        if os.getpid() != 1:
            from batch_inference_runner.descendants import adopt_orphans

            adopt_orphans()
        signals = _watched_signals()
        self._poll.register(signals, select.POLLIN)
        liveness = Liveness(int(self._environ.get("BIJ_LIVENESS_PORT", LIVENESS_PORT)), self._poll)
        for number in early:
            self._on_signal(number)
        while (code := self._look_after_child()) is None:
            for descriptor, _ in self._poll.poll(1000 * self._seconds_to_wait()):
                if descriptor == signals.fileno():
                    for number in signals.recv(64):
                        self._on_signal(number)
                liveness.on_readable(descriptor)
        return code

    def _seconds_to_wait(self) -> float:
        if self._child is not None:
            return TICK_SECONDS
        return min(TICK_SECONDS, max(0.0, self._restart_at - time.monotonic()))

    def _on_signal(self, number: int) -> None:
        if number not in _ENDS:
            return
        if self._stopping is None:
            self._stopping = number
            self._stop_at = time.monotonic() + STOP_SECONDS
        if self._child is not None:
            self._child.signal(number)

    def _look_after_child(self) -> int | None:
        """Do what is due; return the pod's exit code when it is to end."""
        now = time.monotonic()
        if self._child is None:
            return self._look_after_none(now)
        self._listen(self._child, now)
        status = _reap(self._child)
        if status is not None:
            return self._on_end(self._child, status)
        if self._stopping is not None and now >= self._stop_at:
            self._child.signal(signal.SIGKILL)
        elif self._silence.is_too_long and not self._hung:
            self._log("a child that gives no sign of life is killed", seconds=self._silence.ticks)
            self._hung = True
            self._child.signal(signal.SIGKILL)
        return None

    def _look_after_none(self, now: float) -> int | None:
        if self._stopping is not None:
            return 128 + self._stopping
        if now >= self._restart_at:
            self._start_next()
        return None

    def _start_next(self) -> None:
        from batch_inference_runner.supervise.last_words import forget_report

        options: tuple[str, ...] = ()
        if self._is_driver:
            forget_report(self._environ)
            beat = self._beat = self._beat._replace(attempt=self._beat.attempt + 1)
            options = (
                f"--began={self._began}",
                f"--attempt={beat.attempt}",
                f"--processed={beat.processed}",
            )
        self._watch(Child.spawn(self._command, options=options))

    def _watch(self, child: Child) -> None:
        self._child = child
        self._silence = self._new_silence(time.monotonic())
        self._hung = False
        self._poll.register(child.beats, select.POLLIN)

    def _listen(self, child: Child, now: float) -> None:
        committed = self._beat.committed
        lines = child.read().splitlines()
        for line in lines:
            self._beat = self._beat.with_next(line)
        if self._beat.committed > committed:
            self._restarts = 0
        if lines:
            self._silence.end()
        else:
            self._silence.go_on(now)

    def _on_end(self, child: Child, status: int) -> int | None:
        from batch_inference_runner.descendants import end_descendants

        self._listen(child, time.monotonic())
        self._poll.unregister(child.beats)
        child.close()
        self._child = None
        left = end_descendants(grace_seconds=_LEFT_BEHIND_SECONDS, term=False)
        if left:
            self._log("processes outlive SIGKILL and are left behind", pids=left)
        step = decide(
            status, is_driver=self._is_driver, restarts=self._restarts, stopping=self._stopping
        )
        if isinstance(step, Leave):
            if step.gave_up:
                self._say_why(status)
            return step.code
        self._log("a child ended and is started again", status=status, hung=self._hung)
        self._restarts += 1
        self._restart_at = time.monotonic() + step.delay_seconds
        return None

    def _say_why(self, status: int) -> None:
        from batch_inference_runner.supervise.last_words import leave_report

        leave_report(self._command, self._environ, status=status, hung=self._hung, beat=self._beat)

    def _log(self, message: str, **fields: Any) -> None:
        import logging

        from batch_inference_runner import logs

        logs.configure(json_lines=True)
        logging.getLogger(__name__).warning(message, extra={"child": self._command[0], **fields})


def _watched_signals() -> socket.socket:
    """Have signals' numbers written to a socket: a loop can wait for that and for others."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)  # noqa: FBT003 - positional only in the standard library
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    for number in (*_ENDS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reader


def _reap(child: Child) -> int | None:
    """Collect whoever has ended, orphans too; return the child's status if it is among them."""
    while (ended := os.waitpid(-1, os.WNOHANG))[0]:
        if ended[0] == child.pid:
            return os.waitstatus_to_exitcode(ended[1])
    return None
