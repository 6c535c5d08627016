"""Lists everything now and then, whatever was or was not watched: the net below the watches."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from batch_inference_operator.cache import Kind
from batch_inference_operator.cluster.api import ClusterError
from batch_inference_operator.names import CHILD_SELECTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch_inference_operator.cache import Item, ObjectCache
    from batch_inference_operator.cluster.api import Cluster
    from batch_inference_operator.keys import Key
    from batch_inference_operator.metrics import Metrics
    from batch_inference_operator.progress_poll import ProgressPoller
    from batch_inference_operator.work_queue import WorkQueue

_logger = logging.getLogger(__name__)
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 20.0
_JITTER = 0.1
"""Replicas that started together do not list together."""


class Resync:
    """Replaces the cache by what the API server lists, and has every job looked at.

    Each namespace is listed by itself: one that is gone, or whose rights are, costs no other.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: ObjectCache,
        queue: WorkQueue[Key],
        poller: ProgressPoller,
        metrics: Metrics,
        namespaces: tuple[str, ...],
        on_listed: Callable[[], None],
        on_synced: Callable[[], None],
        random: Callable[[], float],
    ) -> None:
        """`on_listed` is told when a namespace was listed, `on_synced` when the last of all was."""
        self._cluster = cluster
        self._cache = cache
        self._queue = queue
        self._poller = poller
        self._metrics = metrics
        self._scopes: tuple[str | None, ...] = namespaces or (None,)
        self._unlisted = set(self._scopes)
        self._on_listed = on_listed
        self._on_synced = on_synced
        self._random = random

    async def until_synced(self) -> None:
        """Try until something was listed."""
        failures = 0
        while not await self.sync():
            await asyncio.sleep(self._pause_after(failures))
            failures += 1

    async def repeat(self, every_seconds: float) -> None:
        """List everything at this interval, for ever."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._repeat(scope, every_seconds))

    async def sync(self) -> bool:
        """List everything once; False if nothing could be listed."""
        return any([await self._sync(scope) for scope in self._scopes])

    async def _repeat(self, scope: str | None, every_seconds: float) -> NoReturn:
        failures = 0
        while True:
            jitter = 1 + _JITTER * (2 * self._random() - 1)
            is_listed = scope not in self._unlisted
            pause = every_seconds * jitter if is_listed else self._pause_after(failures)
            await asyncio.sleep(pause)
            failures = 0 if await self._sync(scope) else failures + 1

    async def _sync(self, scope: str | None) -> bool:
        try:
            for kind in Kind:
                await self._list(kind, scope)
        except ClusterError as error:
            # A missing CRD too: it may be installed after the operator.
            where = scope or "all namespaces"
            _logger.warning("cannot list", extra={"error": str(error), "scope": where})
            self._unlisted.add(scope)
            return False
        self._poller.forget_all_but(_uids_of(self._cache.all(Kind.POD)))
        self._metrics.forget_rows_but(_uids_of(self._cache.all(Kind.JOB)))
        for key in self._cache.job_keys():
            if scope in (None, key.namespace):
                self._queue.add(key)
        self._unlisted.discard(scope)
        self._on_listed()
        if not self._unlisted:
            self._on_synced()
        return True

    async def _list(self, kind: Kind, scope: str | None) -> None:
        began = self._cache.begin_list()
        labels = "" if kind is Kind.JOB else CHILD_SELECTOR
        items = await self._cluster.list(kind.value, namespace=scope, labels=labels)
        self._cache.replace(kind, items, began=began, namespace=scope)

    def _pause_after(self, failures: int) -> float:
        return float(min(_FIRST_RETRY_SECONDS * 2 ** min(failures, 10), _LAST_RETRY_SECONDS))


def _uids_of(items: Iterable[Item]) -> list[str]:
    return [item["metadata"]["uid"] for item in items]
