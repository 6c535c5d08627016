"""Everything below a process: found, ended, and waited for, also when its own parent has gone.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02


def adopt_orphans() -> None:
    """Become the parent of whatever below this process loses its own, as process 1 is anyway."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants(*, grace_seconds: float, term: bool) -> None:
    """Wait for all of them to end, and kill those that have not within `grace_seconds`.

    `term`: ask them to end, with SIGTERM, before waiting.
    """
    if term:
        for pid in _descendants(os.getpid()):
            _kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while _reap() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    while descendants := _descendants(os.getpid()):
        for pid in descendants:
            _kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(_POLL_SECONDS)


def _descendants(pid: int) -> list[int]:
    direct: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            direct += map(int, children.read_text().split())
    return direct + [each for child in direct for each in _descendants(child)]


def _reap() -> bool:
    """Collect children that have ended; say whether there are any left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
