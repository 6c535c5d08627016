"""Works off the queue: a fixed number of keys at a time, each until it is done or has failed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_inference_operator.cluster.api import ClusterError, Conflict
from batch_inference_operator.leadership import LeadershipLost
from batch_inference_operator.work_queue import QueueClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batch_inference_operator.keys import Key
    from batch_inference_operator.leadership import Leadership
    from batch_inference_operator.metrics import Metrics
    from batch_inference_operator.work_queue import WorkQueue

    Reconcile = Callable[[Key], Awaitable[float | None]]
    """Brings a job one step further; returns the seconds until it should be looked at again."""

_logger = logging.getLogger(__name__)
_RECONCILE_SECONDS = 120.0
"""No reconcile takes that long, unless something hangs in spite of its own deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What is needed to work."""

    queue: WorkQueue[Key]
    reconcile: Reconcile
    leadership: Leadership
    metrics: Metrics
    clock: Callable[[], float]

    async def work(self, count: int) -> None:
        """Reconcile up to `count` jobs at a time, until the queue is closed.

        Raises:
            LeadershipLost: another operator may be at work.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(count):
                    group.create_task(self._work_off(), name=f"worker {number}")
        except BaseExceptionGroup as ended:
            raise ended.exceptions[0] from None  # one reason to end is enough

    async def _work_off(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            if not self.leadership.is_current:  # this process may have been stopped for a while
                raise LeadershipLost("the lease ran out while this process was not looking")
            await self._work_on(key)

    async def _work_on(self, key: Key) -> None:
        began = self.clock()
        failure: Exception | None = None
        try:
            async with asyncio.timeout(_RECONCILE_SECONDS):
                again_seconds = await self.reconcile(key)
        except Exception as error:  # noqa: BLE001 - the edge: one job must not stop the others
            failure = error
            self._put_off(key, error)
        else:
            if again_seconds is not None:
                self.queue.add_after(key, again_seconds)
            self.queue.done(key)
        self.metrics.count_reconcile(self.clock() - began, failure)

    def _put_off(self, key: Key, error: Exception) -> None:
        wish = error.retry_after_seconds if isinstance(error, ClusterError) else None
        pause = self.queue.failed(key, at_least_seconds=wish or 0)
        fields = {"job": str(key), "error": f"{type(error).__name__}: {error}", "again_in_s": pause}
        if isinstance(error, Conflict):
            _logger.debug("job changed meanwhile", extra=fields)
        elif isinstance(error, ClusterError):
            _logger.warning("reconcile put off", extra=fields)
        else:
            _logger.error("reconcile failed", extra=fields, exc_info=error)
