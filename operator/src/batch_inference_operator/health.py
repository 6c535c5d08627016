"""Serves `/livez`, `/readyz` and `/metrics`.

`/livez` is answered by the event loop that everything else runs in: a loop that hangs answers
nothing, and the kubelet's timeout does the rest. It also fails when the API server could not be
listed for too long, because a restart is all that helps against credentials or connections that
went bad inside this process.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp.typedefs import Handler
    from prometheus_client import CollectorRegistry


@dataclass(slots=True, kw_only=True)
class Health:
    """When a watched namespace was last listed, on a monotonic clock."""

    clock: Callable[[], float]
    deadline_seconds: float
    _started: float = field(init=False)
    _synced: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def note_sync(self) -> None:
        """A namespace, or all of them, was listed just now."""
        self._synced = self.clock()

    @property
    def is_ready(self) -> bool:
        """Whether anything was listed: what is known is worth acting upon."""
        return self._synced is not None

    @property
    def is_alive(self) -> bool:
        """Whether the last list, or the start, is recent enough."""
        last = self._started if self._synced is None else self._synced
        return self.clock() - last <= self.deadline_seconds


@asynccontextmanager
async def serve_health(
    health: Health, registry: CollectorRegistry, *, port: int
) -> AsyncIterator[int]:
    """Listen on all addresses; gives the port, which is a free one if 0 was asked for."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", _probe(lambda: health.is_alive, "the API server cannot be listed")),
            web.get("/readyz", _probe(lambda: health.is_ready, "nothing was listed yet")),
            web.get("/metrics", _metrics(registry)),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        listener = _listen(port)
        await web.SockSite(runner, listener).start()
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


def _listen(port: int) -> socket.socket:
    # One socket for both families: two would take two different free ports.
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _probe(is_well: Callable[[], bool], complaint: str) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        if is_well():
            return web.Response(text="ok\n")
        return web.Response(text=f"{complaint}\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    return answer


def _metrics(registry: CollectorRegistry) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer
