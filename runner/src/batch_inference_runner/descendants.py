"""Everything below a process: found, ended, and waited for, also when its own parent has gone.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02
_KILL_SECONDS = 5.0


def adopt_orphans() -> None:
    """Become the parent of whatever below this process loses its own, as process 1 is anyway."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants(*, grace_seconds: float, term: bool) -> list[int]:
    """Wait for all of them to end, and kill those that have not within `grace_seconds`.

    `term`: ask them to end, with SIGTERM, before waiting.

    Returns:
        Processes that outlive SIGKILL for 5 seconds: they wait in the kernel, for a disk that
        hangs or for a device, and whoever waited for them would hang with them.
    """
    if term:
        for pid in _descendants(os.getpid()):
            _kill(pid, signal.SIGTERM)
    _wait_until(lambda: not _reap(), seconds=grace_seconds)
    _wait_until(_are_killed, seconds=_KILL_SECONDS)
    return _descendants(os.getpid())


def _wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _are_killed() -> bool:
    """Kill all descendants; say whether there were none."""
    descendants = _descendants(os.getpid())
    for pid in descendants:
        _kill(pid, signal.SIGKILL)
    _reap()
    return not descendants


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
