"""What follows from the end of a supervised child. Pure.

A driver's verdict on the job (0, or 64 to 79) is the pod's. Whatever else ends it, another is
started in its place: that takes a second, a new pod a minute, and one of the Job's retries.
A worker never has a verdict: if it ended the pod with 0 it would never be replaced, and with 64 to
79 it would fail the job.
"""

from __future__ import annotations

from typing import NamedTuple

from batch_inference_api.pod_contract import PERMANENT_EXIT_CODES
from batch_inference_runner.errors import ExitCode

MAX_RESTARTS = 5
"""Of a driver, in a row: a newly committed shard begins a new row."""
_FIRST_DELAY_SECONDS = 0.25
_LONGEST_DELAY_SECONDS = 15.0
_MAX_DOUBLINGS = 6
"""Those that reach the longest delay. A worker's restarts have no end, a float's exponent has."""


class Restart(NamedTuple):
    """Start another child after a pause."""

    delay_seconds: float


class Leave(NamedTuple):
    """End the pod. `gave_up`: no child has said why, so the supervisor must."""

    code: int
    gave_up: bool = False


def decide(status: int, *, is_driver: bool, restarts: int, stopping: int | None) -> Restart | Leave:
    """Say what comes after a child that ended with `status` (negative: by that signal).

    Args:
        status: the child's exit status.
        is_driver: whether the child was a driver.
        restarts: how many there were in a row.
        stopping: the signal that told the pod to end, if one did.
    """
    if is_driver and (status == 0 or status in PERMANENT_EXIT_CODES):
        return Leave(status)
    if stopping is not None:
        return Leave(128 + stopping)
    if is_driver and restarts >= MAX_RESTARTS:
        return Leave(ExitCode.RETRYABLE, gave_up=True)
    delay_seconds = _FIRST_DELAY_SECONDS * 2 ** min(restarts, _MAX_DOUBLINGS)
    return Restart(min(_LONGEST_DELAY_SECONDS, delay_seconds))
