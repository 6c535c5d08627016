"""Which time limits are reckoned with, where clocks of two machines differ."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from batch_inference_operator.cluster.kubernetes_client import KubernetesCluster
from batch_inference_operator.cluster.server_clock import ServerClock
from testkit.observations import NOW


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
def test_the_time_is_the_servers(hours):
    clock = ServerClock(lambda: NOW)
    there = NOW + timedelta(hours=hours)

    clock.note(format_datetime(there, usegmt=True))

    assert clock() == there


@pytest.mark.parametrize("seconds", [-29, 0, 29])
def test_how_long_an_answer_took_is_no_difference_of_clocks(seconds):
    clock = ServerClock(lambda: NOW)

    clock.note(format_datetime(NOW + timedelta(seconds=seconds), usegmt=True))

    assert clock() == NOW


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sat, 32 Foo 2026 12:00:00 GMT"])
def test_what_is_no_date_says_nothing(date):
    clock = ServerClock(lambda: NOW)
    there = NOW + timedelta(hours=1)
    clock.note(format_datetime(there, usegmt=True))

    clock.note(date)

    assert clock() == there


def test_a_clock_that_was_set_right_is_believed_again():
    clock = ServerClock(lambda: NOW)
    for there in (NOW - timedelta(hours=1), NOW):
        clock.note(format_datetime(there, usegmt=True))

    assert clock() == NOW


def test_every_answer_of_the_server_tells_the_time():
    """A refusal, too: a server that refuses everything is no reason to end a job."""
    there = NOW + timedelta(days=1000)

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=403, headers={"Date": format_datetime(there, usegmt=True)})

    async def ask() -> timedelta:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", refuse)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with ApiClient(Configuration(host=f"http://{host}:{port}")) as client:
            cluster = KubernetesCluster(client)
            with pytest.raises(Exception, match="403"):
                await cluster.get("Job", "churn", namespace="scoring")
        await runner.cleanup()
        return cluster.clock() - there

    assert abs(asyncio.run(ask())) < timedelta(minutes=1)
