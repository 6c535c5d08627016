"""What a change in the cluster leads to: it is remembered, and its job is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_operator.cache import Kind
from batch_inference_operator.keys import key_of, owner_key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_operator.cache import Item, ObjectCache
    from batch_inference_operator.keys import Key
    from batch_inference_operator.metrics import Metrics
    from batch_inference_operator.work_queue import WorkQueue


class Feed:
    """Takes in changes from watches; which change it was decides nothing but what is remembered."""

    def __init__(
        self,
        *,
        cache: ObjectCache,
        queue: WorkQueue[Key],
        metrics: Metrics,
        forget_pod: Callable[[str], None],
    ) -> None:
        self._cache = cache
        self._queue = queue
        self._metrics = metrics
        self._forget_pod = forget_pod

    def take(self, kind: Kind, item: Item, *, is_deleted: bool) -> None:
        """Take in one object as an event brought it."""
        if is_deleted:
            self._forget(kind, item)
        elif self._cache.see(kind, item) and kind is Kind.JOB:
            self._metrics.count_rows(item)
        key = key_of(item) if kind is Kind.JOB else owner_key_of(item)
        if key is not None:
            self._queue.add(key)

    def _forget(self, kind: Kind, item: Item) -> None:
        self._cache.forget(kind, item)
        if kind is Kind.POD:
            self._forget_pod(item["metadata"]["uid"])
        elif kind is Kind.JOB:
            self._metrics.forget_rows(item)
