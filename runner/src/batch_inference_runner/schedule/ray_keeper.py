"""Keeps Ray's processes for as long as somebody wants them, and leaves nothing behind.

`ray start` starts a dozen processes, which outlive it when it is killed. So a process of ours
stands above them: it adopts whatever is orphaned, and when its standard input ends (which it does
however the process that asked for the node dies) it ends all of them and removes their files.
Standard library only.

    python -m batch_inference_runner.schedule.ray_keeper COMMAND [ARGUMENT ...]

`{folder}` in an argument becomes the node's temporary folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_runner.parent_death import signal_at_parent_death

if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 0.5
_LOG_TAIL_BYTES = 2000


def main(command: Sequence[str]) -> int:
    """Run `command` until it ends or standard input does; return its status or 0."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = Path(tempfile.mkdtemp(prefix="bij-ray-", dir=_short_folder()))
    log = folder / "ray-start.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [part.replace("{folder}", str(folder)) for part in command],
                # Scorers below put their files there too, and so they go with the node.
                env={**os.environ, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_end_with_keeper,  # noqa: PLW1509 (one system call, already loaded)
            )
        status = _wait(process)
        if status:
            tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
            sys.stderr.write(f"ray start ended with status {status}:\n{tail}\n")
        return status
    finally:
        _end_descendants()
        shutil.rmtree(folder, ignore_errors=True)


def _short_folder() -> str:
    """Where the node's folder goes: the paths of Ray's sockets in it may have 107 bytes."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 16 else "/tmp"  # noqa: S108 (mkdtemp below it)


def _end_with_keeper() -> None:
    """Let `ray start --block`, which ends its own children, end when even the keeper is killed."""
    signal_at_parent_death(signal.SIGTERM)


def _wait(process: subprocess.Popen[bytes]) -> int:
    while process.poll() is None:
        readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
        if readable and not os.read(0, 1):
            return 0
    return process.returncode


def _end_descendants() -> None:
    """SIGTERM, so that a node takes its leave, and SIGKILL until nobody is left."""
    for pid in _descendants(os.getpid()):
        _kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while _reap() and time.monotonic() < deadline:
        time.sleep(0.02)
    while descendants := _descendants(os.getpid()):
        for pid in descendants:
            _kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.02)


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
