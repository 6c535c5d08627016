"""Is the store safe? Asked before anything is written or scored.

The protocol stands on three promises: of several exclusive creates exactly one wins, an exclusive
publish does not replace, and (to overwrite or append) a conditional replace respects its
condition. Object stores in use have broken each of them, silently: a proxy that drops
`If-None-Match`, a server that checks it before it takes its lock.
"""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.exclusive import DELAYS_SECONDS, FINAL
from batch_inference_runner.commit.layout import PROBES
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.store import (
    AccessDenied,
    AlreadyExists,
    NotFound,
    StoreError,
    VersionChanged,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.storage.store import Store

_WRITERS = 16
"""Concurrent creates on an object store."""


def probe(store: Store, *, replaces: bool, pause: Callable[[float], None] = time.sleep) -> None:
    """Check what the commit protocol needs; `replaces`: conditional replace as well.

    Raises JobFailed(OutputStoreUnsafe), NotFound for a missing bucket, StoreError.
    """
    folder = f"{PROBES}/{secrets.token_hex(8)}"
    created, published = f"{folder}/created", f"{folder}/published"
    try:
        _probe_create(store, created)
        _probe_publish(store, created, published, pause)
        if replaces:
            _probe_replace(store, created)
    finally:
        _discard(store, [created, published])


def _probe_create(store: Store, key: str) -> None:
    if store.scope == "posix":
        _probe_link(store, key)
        return
    bodies = [f"writer {index} of {_WRITERS}".encode() for index in range(_WRITERS)]
    with ThreadPoolExecutor(_WRITERS) as pool:
        outcomes = pool.map(lambda body: _takes(lambda: store.create(key, body)), bodies)
        won = [body for body, created in zip(bodies, outcomes, strict=True) if created]
    stored = store.get(key)
    # Nobody may have been told: the winner's response was lost, and it then met its own write.
    if won not in ([stored], []):
        raise _unsafe(
            store, f"{len(won)} of several exclusive creates of one object succeeded, not 1"
        )


def _probe_link(store: Store, key: str) -> None:
    """Write the source of `_probe_publish`: links are all that a file system's creates stand on.

    Without waiting for a disk, because this delays the first row of every run.
    """
    sink = store.open_sink(key)
    try:
        sink.write(b"probe")
        sink.commit()
    except BaseException:
        sink.abort()
        raise


def _probe_publish(store: Store, source: str, target: str, pause: Callable[[float], None]) -> None:
    def publish() -> bool:
        return _takes(lambda: store.publish(source, target))

    # Nothing can be there yet, but for a copy of our own whose answer was lost.
    _settle(publish, pause)
    if _settle(publish, pause):
        raise _unsafe(store, "an exclusive copy replaced an object that was there")


def _settle(write: Callable[[], bool], pause: Callable[[float], None]) -> bool:
    """Write again what has failed: a server may say so of a single copy, and of the next not."""
    for delay in DELAYS_SECONDS:
        try:
            return write()
        except (AccessDenied, *FINAL):
            raise
        except StoreError:
            pause(delay)
    return write()


def _probe_replace(store: Store, key: str) -> None:
    _, version = store.get_with_version(key)
    store.replace(key, b"replaced", version=version)
    try:
        store.replace(key, b"replaced again", version=version)
    except VersionChanged:
        return
    raise _unsafe(store, "a conditional replace ignored its condition")


def _takes(write: Callable[[], object]) -> bool:
    """Whether an exclusive write took effect: nothing was there yet."""
    try:
        write()
    except AlreadyExists:
        return False
    return True


def _discard(store: Store, keys: list[str]) -> None:
    try:
        store.delete(keys)
    except (NotFound, StoreError):
        return  # `bij gc` finds them


def _unsafe(store: Store, what: str) -> JobFailed:
    return JobFailed(
        Reason.OUTPUT_STORE_UNSAFE,
        f"{store.uri!r} cannot keep results exact: {what}; rows could be lost or doubled, so "
        f"nothing was scored; update the store (it must honour If-None-Match and If-Match), take "
        f"away a proxy that drops these headers, or write to another store",
    )
