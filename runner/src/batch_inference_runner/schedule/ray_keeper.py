"""Keeps Ray's processes for as long as somebody wants them, and leaves nothing behind.

`ray start` starts a dozen processes, which outlive it when it is killed. So a process of ours
stands above them: it adopts whatever is orphaned, and when its standard input ends (which it does
however the process that asked for the node dies) it ends all of them and removes their files.
Standard library only.

    python -m batch_inference_runner.schedule.ray_keeper COMMAND [ARGUMENT ...]

`{folder}` in an argument becomes the node's temporary folder.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_runner.descendants import adopt_orphans, end_descendants
from batch_inference_runner.parent_death import signal_at_parent_death

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 0.5
_LOG_TAIL_BYTES = 2000


def main(command: Sequence[str]) -> int:
    """Run `command` until it ends or standard input does; return its status or 0."""
    adopt_orphans()
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
        # SIGTERM first, so that a node takes its leave.
        left = end_descendants(grace_seconds=_GRACE_SECONDS, term=True)
        if left:
            sys.stderr.write(f"processes {left} outlive SIGKILL and are left behind\n")
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
