"""Wires the operator together, and ends it as a whole.

Everything runs in one event loop. It ends well when it is told to, and badly as soon as any part
ends by itself: half an operator is worse than none, and a new process starts from what is there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batch_inference_operator.cache import ObjectCache
from batch_inference_operator.cluster.kubernetes_client import connect
from batch_inference_operator.feed import Feed
from batch_inference_operator.handlers import start_watching
from batch_inference_operator.health import Health, serve_health
from batch_inference_operator.leadership import LeaseElection, WithoutElection
from batch_inference_operator.metrics import Metrics
from batch_inference_operator.progress_poll import open_poller
from batch_inference_operator.reconcile import Reconciler
from batch_inference_operator.resync import Resync
from batch_inference_operator.work_queue import WorkQueue
from batch_inference_operator.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from batch_inference_operator.cluster.api import Cluster
    from batch_inference_operator.keys import Key
    from batch_inference_operator.leadership import Leadership
    from batch_inference_operator.progress_poll import ProgressPoller
    from batch_inference_operator.settings import Settings

_logger = logging.getLogger(__name__)
_DRAIN_SECONDS = 8.0
"""How long work in hand may take to end when the process is told to; Kubernetes gives it 30."""
_CANCEL_SECONDS = 5.0


class PartEnded(Exception):
    """A part of the operator that should run for ever has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The parts that run."""

    settings: Settings
    queue: WorkQueue[Key]
    feed: Feed
    resync: Resync
    leadership: Leadership
    workers: Workers
    metrics: Metrics

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then finish the work in hand and let another replica take over.

        Raises:
            PartEnded: something went wrong, and nothing runs any more.
        """
        await self._until_listed(stop)
        if stop.is_set():
            return
        lead = asyncio.create_task(self._lead(), name="leader")
        parts = [
            lead,
            asyncio.create_task(self.resync.repeat(self.settings.resync_seconds), name="resync"),
            *await start_watching(self.feed, self.settings),
        ]
        _stop_on_signals(stop)  # kopf has put its own handlers in place
        try:
            await _until_any_ends(parts, stop)
            if self.leadership.is_current:
                self.queue.close()
                await asyncio.wait([lead], timeout=_DRAIN_SECONDS)
        finally:
            await _cancel(parts)

    async def _until_listed(self, stop: asyncio.Event) -> None:
        # kopf looks once for the kinds that it is to watch, so the CRD must be there by then.
        listing = asyncio.create_task(self.resync.until_synced(), name="first list")
        try:
            await _until_any_ends([listing], stop, may_end=True)
        finally:
            await _cancel([listing])

    async def _lead(self) -> None:
        try:
            await self.leadership.acquire()
            self.metrics.set_leading(is_leader=True)
            await self._work_while_leading()
        finally:
            self.metrics.set_leading(is_leader=False)
            await self.leadership.release()

    async def _work_while_leading(self) -> None:
        parts = [
            asyncio.create_task(self.leadership.hold(), name="lease"),
            asyncio.create_task(self.workers.work(self.settings.concurrency), name="workers"),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            await _cancel(parts)


async def serve(settings: Settings) -> None:
    """Run the operator of this process until a signal tells it to end.

    Raises:
        PartEnded: a part of it has failed.
        ClusterError: there is no way to reach a cluster.
        OSError: the health port is taken.
    """
    stop = asyncio.Event()
    _stop_on_signals(stop)
    async with _assembled(settings) as operator:
        _logger.info("started", extra={"watches": settings.watch_namespaces or "all namespaces"})
        await operator.run(stop)
    _logger.info("ended")


@asynccontextmanager
async def _assembled(settings: Settings) -> AsyncIterator[Operator]:
    cache = ObjectCache()
    queue: WorkQueue[Key] = WorkQueue(clock=time.monotonic, random=random.random)
    metrics = Metrics(
        cache=cache, queue_depth=lambda: queue.due, resync_seconds=settings.resync_seconds
    )
    deadline_seconds = max(settings.sync_deadline_seconds, 2 * settings.resync_seconds)
    health = Health(clock=time.monotonic, deadline_seconds=deadline_seconds)

    async with (
        serve_health(health, metrics.registry, port=settings.health_port) as port,
        connect(count_call=metrics.count_call) as cluster,
        open_poller(clock=time.monotonic, count_poll=metrics.count_poll) as poller,
    ):
        _logger.info("serving health and metrics", extra={"port": port})
        leadership = _leadership(settings, cluster)
        yield Operator(
            settings=settings,
            queue=queue,
            feed=Feed(cache=cache, queue=queue, metrics=metrics, forget_pod=poller.forget),
            resync=Resync(
                cluster=cluster,
                cache=cache,
                queue=queue,
                poller=poller,
                metrics=metrics,
                namespaces=settings.watch_namespaces,
                on_listed=health.note_sync,
                on_synced=metrics.note_sync,
                random=random.random,
            ),
            leadership=leadership,
            workers=Workers(
                queue=queue,
                reconcile=_reconciler(settings, cluster, cache, poller, cluster.clock).reconcile,
                leadership=leadership,
                metrics=metrics,
                clock=time.monotonic,
            ),
            metrics=metrics,
        )


def _reconciler(
    settings: Settings,
    cluster: Cluster,
    cache: ObjectCache,
    poller: ProgressPoller,
    clock: Callable[[], datetime],
) -> Reconciler:
    return Reconciler(
        cluster=cluster,
        cache=cache,
        settings=settings,
        poll_progress=poller,
        clock=clock,
        make_token=lambda: secrets.token_urlsafe(32),
    )


def _leadership(settings: Settings, cluster: Cluster) -> Leadership:
    if not settings.leader_election:
        return WithoutElection()
    return LeaseElection(
        cluster=cluster,
        namespace=settings.namespace,
        name=settings.lease_name,
        identity=f"{settings.pod_name}_{secrets.token_hex(4)}",
        clock=time.monotonic,
        wall_clock=_wall_clock,
    )


def _wall_clock() -> datetime:
    return datetime.now(UTC)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _until_any_ends(
    parts: Iterable[asyncio.Task[Any]], stop: asyncio.Event, *, may_end: bool = False
) -> None:
    """Wait for `stop`. Raises PartEnded if a part ends before that, unless it may."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait([*parts, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    for part in parts:
        if part.done() and not part.cancelled() and (error := part.exception()) is not None:
            raise PartEnded(f"{part.get_name()} failed: {error}") from error
        if part.done() and not stop.is_set() and not may_end:
            raise PartEnded(f"{part.get_name()} ended by itself")


async def _cancel(parts: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel what still runs, and give it a moment to end; what it raises then is of no use."""
    running = [part for part in parts if not part.done()]
    for part in running:
        part.cancel()
    if running:
        await asyncio.wait(running, timeout=_CANCEL_SECONDS)
    for part in parts:
        if part.done() and not part.cancelled():
            part.exception()
