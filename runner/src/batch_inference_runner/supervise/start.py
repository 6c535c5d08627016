"""The first moments of a pod: the child is spawned, then the supervisor is imported."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from batch_inference_runner.supervise.children import Child

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def supervise(options: Sequence[str], environ: Mapping[str, str]) -> int:
    """Start what this pod is for and stay until it is done; return the pod's exit code.

    `options` are those of `bij driver` and `bij worker`, which look at them: a mistake in them is a
    driver's verdict, and must not be a worker's.
    """
    began = time.monotonic()
    # The kernel drops signals that process 1 has no handler for, and this one may come at once.
    early: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: early.append(number))
    is_driver = environ.get("JOB_COMPLETION_INDEX", "0") == "0"
    command = ("driver" if is_driver else "worker", *options)
    first = Child.spawn(command)

    from batch_inference_runner.supervise.supervisor import Supervisor

    return Supervisor(command, first, began=began, environ=environ).run(early)
