"""Writes of which exactly one may win, told apart by reading back.

An error of such a write says nothing about its effect: the response may have been lost after the
store acted, and a client that retries by itself then meets its own write and reports that the key
is taken. So whatever the error was, the object is read: it is there, and its content says who won,
or it is not, and the same bytes are tried again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batch_inference_runner.storage.store import (
    AlreadyExists,
    Misconfigured,
    NotFound,
    StoreError,
    Unsupported,
    VersionChanged,
    VolumeFull,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.storage.store import Store

DELAYS_SECONDS = (0.05, 0.2, 0.8, 2.0, 4.0)
"""Pauses between tries; the client beneath retries single requests on its own."""

FINAL = (VolumeFull, Unsupported, Misconfigured)
"""Errors that another try cannot cure."""


def create_or_read(
    store: Store, key: str, body: bytes, *, pause: Callable[[float], None] = time.sleep
) -> bytes:
    """Create the object, or read what is there instead; return what the key holds now.

    Raises StoreError when the outcome stays unknown.
    """
    return _settle(lambda: store.create(key, body), lambda: store.get(key), body, pause)


def replace_or_read(
    store: Store,
    key: str,
    body: bytes,
    *,
    version: str,
    pause: Callable[[float], None] = time.sleep,
) -> bytes:
    """Replace `version` of the object, or read what is there instead; return what it holds now.

    Raises StoreError when the outcome stays unknown.
    """

    def read() -> bytes:
        current, current_version = store.get_with_version(key)
        if current_version == version and current != body:
            raise NotFound(key)  # still the old one: try again
        return current

    return _settle(lambda: store.replace(key, body, version=version), read, body, pause)


def _settle(
    write: Callable[[], None],
    read: Callable[[], bytes],
    body: bytes,
    pause: Callable[[float], None],
) -> bytes:
    last: Exception | None = None
    for delay in (*DELAYS_SECONDS, None):
        try:
            write()
        except FINAL:
            raise
        except (AlreadyExists, VersionChanged, StoreError) as error:
            last = error
        else:
            return body
        try:
            return read()
        except NotFound:
            pass
        except StoreError as error:
            last = error
        if delay is not None:
            pause(delay)
    if isinstance(last, StoreError):
        raise last
    raise StoreError(f"the outcome of a write stays unknown: {last}")
