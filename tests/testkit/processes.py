"""The processes of a run: who they are, and how they are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Process ids of the children, or none if the process has gone."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, tasks.read_text().split())
        except OSError:
            continue  # the thread has ended
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_scorer(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "bij-scorer\n"
    except OSError:
        return False


def descendants_of(pid: int) -> list[int]:
    direct = children_of(pid)
    return direct + [each for child in direct for each in descendants_of(child)]


def scorers_below(pid: int) -> list[int]:
    """The scorer processes below a driver."""
    return [child for child in children_of(pid) if is_scorer(child)]


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; False if the process has gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL a process and everything below it, at one moment."""
    for pid in [process.pid, *descendants_of(process.pid)]:
        kill(pid)
    process.wait()


def run_until_killed(
    run: subprocess.Popen, committed: Callable[[], int], *, seconds: float, commits: int
) -> bool:
    """Kill all of a run after some seconds, or as soon as it has committed so many shards more.

    The second keeps a fast machine from finishing before it was killed often enough. False if the
    run has ended by itself.
    """
    deadline, enough = time.monotonic() + seconds, committed() + commits
    while run.poll() is None:
        if time.monotonic() > deadline or committed() >= enough:
            kill_all(run)
            return True
        time.sleep(0.01)
    return False
