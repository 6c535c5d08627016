"""What the operator asks over HTTP, and what it answers, on this machine's loopback address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from batch_inference_operator.cache import ObjectCache
from batch_inference_operator.health import Health, serve_health
from batch_inference_operator.metrics import Metrics
from batch_inference_operator.progress_poll import Poll, PollOutcome, PollTarget, ProgressPoller

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
TARGET = PollTarget(pod_uid="pod-1", ip="127.0.0.1", job_uid="uid-1", run_number=2)
REPORT = json.dumps(
    {"contractVersion": 1, "job": {"name": "churn", "uid": "uid-1"}, "runNumber": 2}
)


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[int]:
    """Serve `/progress` as a pod would."""
    app = web.Application()
    app.router.add_get("/progress", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def poll(answer: Answer) -> tuple[Poll, PollOutcome]:
    """Ask a pod that answers so."""

    async def run() -> tuple[Poll, PollOutcome]:
        outcomes: list[PollOutcome] = []
        async with served(answer) as port, aiohttp.ClientSession() as session:
            poller = ProgressPoller(
                session,
                clock=asyncio.get_running_loop().time,
                count_poll=outcomes.append,
                port=port,
            )
            found = await poller(TARGET)
        return found, outcomes[0]

    return asyncio.run(run())


def test_a_pod_that_answers() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=REPORT)

    found, outcome = poll(answer)
    assert outcome is PollOutcome.ANSWERED
    assert found.report is not None
    assert found.report.run_number == 2


@pytest.mark.parametrize("length", [64 * 1024 + 1, 64 * 1024 * 1024])
def test_an_answer_that_is_too_long_is_not_read_to_its_end(length: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(0, length, 64 * 1024):
            await response.write(b" " * 64 * 1024)
        await response.write(b" ")
        return response

    found, outcome = poll(answer)
    assert (found.report, outcome) == (None, PollOutcome.UNREADABLE)


def test_redirects_are_not_followed() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        raise web.HTTPFound("/progress?again")

    found, outcome = poll(answer)
    assert (found.report, outcome) == (None, PollOutcome.UNREACHABLE)
    assert asked == ["/progress"]


def test_a_pod_that_is_slow_is_not_waited_for() -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response(text=REPORT)

    found, outcome = poll(answer)
    assert outcome is PollOutcome.UNREACHABLE
    assert 1.5 < found.unreachable_seconds < 5


def test_nobody_there() -> None:
    async def run() -> Poll:
        async with aiohttp.ClientSession() as session:
            clock = asyncio.get_running_loop().time
            return await ProgressPoller(session, clock=clock, port=1)(TARGET)

    assert asyncio.run(run()).report is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_probes_and_metrics() -> None:
    clock = Clock()

    async def run() -> list[tuple[int, str]]:
        health = Health(clock=clock, deadline_seconds=600)
        metrics = Metrics(cache=ObjectCache(), queue_depth=lambda: 7, resync_seconds=300)
        answers = []
        async with (
            serve_health(health, metrics.registry, port=0) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):

            async def ask(path: str) -> None:
                async with session.get(path) as response:
                    answers.append((response.status, await response.text()))

            await ask("/readyz")
            health.note_sync()
            await ask("/readyz")
            await ask("/livez")
            clock.now = 601
            await ask("/livez")
            await ask("/metrics")
        return answers

    *probes, metrics = asyncio.run(run())
    assert probes == [
        (503, "nothing was listed yet\n"),
        (200, "ok\n"),
        (200, "ok\n"),
        (503, "the API server cannot be listed\n"),
    ]
    assert metrics[0] == 200
    assert "batch_inference_queue_depth 7.0" in metrics[1]
