"""Reads again what arrived in part.

The client tries a request again by itself when it fails, but not when the connection breaks while
the body of the answer is on its way. Reading twice changes nothing, so that is done here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from batch_inference_runner.storage.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_DELAYS_SECONDS = (0.05, 0.2, 0.8, 2.0)

Result = TypeVar("Result")


class CutShort(StoreError):
    """The answer of a store ended before it was complete."""


def read_again(
    read: Callable[[], Result], *, pause: Callable[[float], None] = time.sleep
) -> Result:
    """Return what `read` returns, after further tries for answers that were cut short."""
    for delay in _DELAYS_SECONDS:
        try:
            return read()
        except CutShort:
            pause(delay)
    return read()
