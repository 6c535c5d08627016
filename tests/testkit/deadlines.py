"""Waits that end: each has a deadline, and says what it waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_for(
    probe: Callable[[], Found],
    *,
    seconds: float,
    what: str,
    every_seconds: float = 0.1,
    explain: Callable[[], str] = lambda: "",
) -> Found:
    """Call `probe` until it returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}\n{explain()}".rstrip())
        time.sleep(every_seconds)
    return found
