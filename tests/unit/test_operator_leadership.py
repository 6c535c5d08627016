"""One operator leads at a time, judged by each operator's own monotonic clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from batch_inference_operator.cluster.api import (
    AlreadyExists,
    ClusterError,
    Conflict,
    NotFound,
    Unreachable,
)
from batch_inference_operator.leadership import (
    LeadershipLost,
    LeaseElection,
    LeaseTiming,
    Observed,
    claim,
    may_take,
    observe_lease,
)

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)
HELD_BY_OTHER = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "then"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class HeldWrite:
    """A write that its client waits for; the server goes on with it even if nobody waits."""

    after: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        self.reached.set()
        await self.go_on.wait()


class LeaseServer:
    """Holds one Lease as an API server does; `before_call` may fail, or change things."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.before_call: Callable[[str], None] = lambda _verb: None
        self.held: HeldWrite | None = None

    def put(self, spec: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.lease

    def hold_next_write(self, *, after: bool) -> HeldWrite:
        self.held = HeldWrite(after)
        return self.held

    async def write(self, spec: dict[str, Any]) -> dict[str, Any]:
        held, self.held = self.held, None
        if held is None:
            return self.put(spec)
        return await asyncio.shield(asyncio.create_task(self._write_held(spec, held)))

    async def _write_held(self, spec: dict[str, Any], held: HeldWrite) -> dict[str, Any]:
        if not held.after:
            await held.wait()
        written = self.put(spec)
        if held.after:
            await held.wait()
        return written

    async def get(self, _kind: str, _name: str, *, namespace: str) -> dict[str, Any]:
        assert namespace == "system"
        self.before_call("get")
        if self.lease is None:
            raise NotFound("no lease")
        return self.lease

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.before_call("create")
        if self.lease is not None:
            raise AlreadyExists("lease")
        return await self.write(manifest["spec"])

    async def replace_lease(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.before_call("update")
        assert self.lease is not None
        if manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("the lease changed")
        return await self.write(manifest["spec"])


def make_election(server: LeaseServer, clock: Clock, identity: str = "me") -> LeaseElection:
    return LeaseElection(
        cluster=server,  # type: ignore[arg-type]
        namespace="system",
        name="operator",
        identity=identity,
        clock=clock,
        wall_clock=lambda: NOON,
        timing=LeaseTiming(retry_seconds=0.0001),
    )


@pytest.mark.parametrize(
    ("spec", "age", "expected"),
    [
        pytest.param({}, 0, True, id="a lease that says nothing"),
        pytest.param({"holderIdentity": ""}, 0, True, id="a lease that was released"),
        pytest.param({**HELD_BY_OTHER, "holderIdentity": "me"}, 0, True, id="our own"),
        pytest.param(HELD_BY_OTHER, 14.9, False, id="another's, seen to change lately"),
        pytest.param(HELD_BY_OTHER, 15, True, id="another's, not renewed for its duration"),
        pytest.param({"holderIdentity": "other"}, 0, True, id="another's that promises no time"),
    ],
)
def test_who_may_take_a_lease(spec: dict[str, Any], age: float, expected: bool) -> None:
    assert may_take(Observed(spec, since=100), "me", 100 + age) is expected


def test_a_lease_ages_from_when_it_last_changed_whatever_times_it_names() -> None:
    first = observe_lease(None, HELD_BY_OTHER, 10)
    assert observe_lease(first, dict(HELD_BY_OTHER), 20).since == 10
    renewed = {**HELD_BY_OTHER, "renewTime": "now"}
    assert observe_lease(first, renewed, 20).since == 20


def test_taking_a_lease_from_another_is_a_transition() -> None:
    taken = claim(
        {**HELD_BY_OTHER, "acquireTime": "then", "leaseTransitions": 3},
        identity="me",
        lease_seconds=15,
        now=NOON,
    )
    assert taken == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-02T12:00:00.250000Z",
        "renewTime": "2026-01-02T12:00:00.250000Z",
        "leaseTransitions": 4,
    }


def test_renewing_a_lease_is_none() -> None:
    held = {"holderIdentity": "me", "acquireTime": "then", "leaseTransitions": 3}
    renewed = claim(held, identity="me", lease_seconds=15, now=NOON)
    assert (renewed["acquireTime"], renewed["leaseTransitions"]) == ("then", 3)


def test_the_first_operator_leads_at_once() -> None:
    server, clock = LeaseServer(), Clock()
    election = make_election(server, clock)
    assert not election.is_current
    asyncio.run(election.acquire())
    assert election.is_current
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 0


def test_the_second_waits_until_the_first_was_silent_for_long_enough() -> None:
    server, clock = LeaseServer(), Clock()
    server.put(HELD_BY_OTHER)
    looks = []

    def pass_time(verb: str) -> None:
        if verb == "get":
            looks.append(clock.now)
            clock.now += 5

    server.before_call = pass_time
    asyncio.run(make_election(server, clock).acquire())
    assert looks == [1000, 1005, 1010, 1015]


def test_a_lease_that_was_released_is_taken_at_once() -> None:
    server, clock = LeaseServer(), Clock()
    first = make_election(server, clock, "first")

    async def scenario() -> None:
        await first.acquire()
        await first.release()
        await make_election(server, clock, "second").acquire()

    asyncio.run(scenario())
    assert not first.is_current
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == "second"
    assert server.lease["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("is_written", [False, True], ids=["before it is written", "after"])
@pytest.mark.parametrize("spec", [None, {}], ids=["new", "free"])
def test_so_is_one_whose_holder_was_stopped_before_it_heard_that_it_has_it(
    spec: dict[str, Any] | None, is_written: bool
) -> None:
    server, clock = LeaseServer(), Clock()
    if spec is not None:
        server.put(spec)

    async def scenario() -> None:
        held = server.hold_next_write(after=is_written)
        first = make_election(server, clock, "first")
        acquiring = asyncio.create_task(first.acquire())
        await held.reached.wait()
        acquiring.cancel()
        await asyncio.wait([acquiring])
        releasing = asyncio.create_task(first.release())
        await asyncio.sleep(0)
        held.go_on.set()
        await releasing
        await asyncio.sleep(0)  # for what nobody waited for

    asyncio.run(scenario())
    assert server.lease is not None
    assert "holderIdentity" not in server.lease["spec"]


@pytest.mark.parametrize(
    "error", [Unreachable("down"), AlreadyExists("raced"), Conflict("raced")], ids=str
)
def test_waiting_survives_whatever_the_server_answers(error: ClusterError) -> None:
    server, clock = LeaseServer(), Clock()
    failures = [error] * 3

    def fail_first(_verb: str) -> None:
        if failures:
            raise failures.pop()

    server.before_call = fail_first
    asyncio.run(make_election(server, clock).acquire())
    assert not failures


def test_a_leader_that_cannot_renew_gives_up_before_another_may_take_over() -> None:
    server, clock = LeaseServer(), Clock()
    election = make_election(server, clock)
    asyncio.run(election.acquire())

    def be_down(_verb: str) -> None:
        clock.now += 3
        raise Unreachable("down")

    server.before_call = be_down
    with pytest.raises(LeadershipLost, match="could not be renewed"):
        asyncio.run(election.hold())
    assert clock.now < 1000 + 15


def test_a_leader_survives_a_server_that_is_down_for_a_moment() -> None:
    server, clock = LeaseServer(), Clock()
    election = make_election(server, clock)
    asyncio.run(election.acquire())
    calls = []

    def be_down_at_times(verb: str) -> None:
        calls.append(verb)
        clock.now += 1
        if len(calls) > 40:
            raise asyncio.CancelledError  # the test has seen enough
        if len(calls) % 8 < 4:
            raise Unreachable("down")

    server.before_call = be_down_at_times
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(election.hold())
    assert election.is_current


def test_a_leader_whose_lease_was_taken_stops_at_once() -> None:
    server, clock = LeaseServer(), Clock()
    election = make_election(server, clock)
    asyncio.run(election.acquire())
    server.put({**HELD_BY_OTHER, "renewTime": "now"})
    with pytest.raises(LeadershipLost, match="taken by 'other'"):
        asyncio.run(election.hold())


def test_a_leader_that_slept_too_long_knows_without_asking() -> None:
    server, clock = LeaseServer(), Clock()
    election = make_election(server, clock)
    asyncio.run(election.acquire())
    clock.now += 15
    assert not election.is_current


def test_what_is_not_ours_is_not_released() -> None:
    server, clock = LeaseServer(), Clock()
    server.put(HELD_BY_OTHER)
    asyncio.run(make_election(server, clock).release())
    assert server.lease["spec"] == HELD_BY_OTHER


def test_releasing_survives_a_server_that_is_down() -> None:
    server, clock = LeaseServer(), Clock()
    election = make_election(server, clock)

    def be_down(_verb: str) -> None:
        raise Unreachable("down")

    async def scenario() -> None:
        await election.acquire()
        server.before_call = be_down
        await election.release()

    asyncio.run(scenario())
    assert not election.is_current
