"""Ends a process when the one that made it ends, however that happens: the kernel sees to it.

Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Loaded on import, so that a call is one system call: some are made between fork and exec."""


def signal_at_parent_death(number: signal.Signals) -> None:
    """Have `number` sent to this process when the thread that made it ends; exec keeps it so."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def die_with_parent(pid: int) -> None:
    """Be killed when the parent, whose process id was `pid`, ends; leave if it has done so."""
    signal_at_parent_death(signal.SIGKILL)
    if os.getppid() != pid:
        os._exit(0)
