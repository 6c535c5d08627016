"""A child's side of the heartbeat: a thread that tells the supervisor that this process lives."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from batch_inference_runner.supervise.heartbeat import BEAT_SECONDS, Beat

if TYPE_CHECKING:
    from collections.abc import Callable

    Milestones = Callable[[], tuple[int, int, int]]

_LOOK_SECONDS = 0.1
"""A commit is told so soon, in case it is the last thing that this process does."""


def start_heartbeat(descriptor: int | None, milestones: Milestones) -> None:
    """Beat as long as this process lives; without a descriptor nobody listens."""
    if descriptor is None:
        return
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional only
    thread = threading.Thread(
        target=_beat, args=(descriptor, milestones), name="bij-heartbeat", daemon=True
    )
    thread.start()


def _beat(descriptor: int, milestones: Milestones) -> None:
    told, told_at = None, 0.0
    while True:
        beat, now = Beat(*milestones()), time.monotonic()
        if told is None or beat.committed > told.committed or now - told_at >= BEAT_SECONDS:
            told, told_at = beat, now
            if not _tell(descriptor, beat):
                return
        time.sleep(_LOOK_SECONDS)


def _tell(descriptor: int, beat: Beat) -> bool:
    """Write the beat; False if nobody reads any more."""
    try:
        os.write(descriptor, beat.encode())
    except BlockingIOError:
        return True  # the supervisor is behind; the next beat says all that this one does
    except OSError:
        return False
    return True
