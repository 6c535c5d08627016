"""Runs one store operation for many keys: in threads where each waits for a network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch_inference_runner.storage.store import Store

_THREADS = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(
    store: Store, operation: Callable[[Item], Result], items: Sequence[Item]
) -> list[Result]:
    """Return the results in the order of the items; the first exception is raised."""
    if store.scope == "posix" or len(items) <= 1:
        return [operation(item) for item in items]
    with ThreadPoolExecutor(min(_THREADS, len(items)), thread_name_prefix="commit") as pool:
        return list(pool.map(operation, items))
