"""Keys are worked on once, one at a time, and less and less often while they fail."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_inference_operator.work_queue import Backoff, QueueClosed, Schedule, WorkQueue

NO_JITTER = 0.0


def make_schedule(*, first_seconds: float = 1, most_seconds: float = 60) -> Schedule[str]:
    backoff = Backoff(first_seconds=first_seconds, most_seconds=most_seconds)
    return Schedule(backoff=backoff, random=lambda: NO_JITTER)


def take_all(schedule: Schedule[str], now: float) -> list[str]:
    taken = []
    while (key := schedule.take(now)) is not None:
        taken.append(key)
    return taken


def test_a_key_asked_for_many_times_is_taken_once() -> None:
    schedule = make_schedule()
    for _ in range(5):
        schedule.ask("a", 0)
    assert take_all(schedule, 0) == ["a"]


def test_keys_are_taken_in_the_order_of_asking() -> None:
    schedule = make_schedule()
    for key in "cab":
        schedule.ask(key, 0)
    assert take_all(schedule, 0) == ["c", "a", "b"]


def test_a_key_is_not_taken_before_it_is_due() -> None:
    schedule = make_schedule()
    schedule.ask("a", 10)
    assert schedule.take(9.9) is None
    assert schedule.next_due() == 10
    assert schedule.take(10) == "a"


@pytest.mark.parametrize("times", [(10, 5), (5, 10)], ids=["earlier later", "later later"])
def test_the_earliest_time_wins(times: tuple[float, float]) -> None:
    schedule = make_schedule()
    for at in times:
        schedule.ask("a", at)
    assert schedule.next_due() == 5
    assert schedule.take(5) == "a"
    assert schedule.take(100) is None


def test_a_key_that_is_worked_on_is_not_taken_again_until_it_is_done() -> None:
    schedule = make_schedule()
    schedule.ask("a", 0)
    schedule.take(0)
    schedule.ask("a", 1)
    assert schedule.take(1) is None
    assert schedule.next_due() is None
    schedule.succeed("a")
    assert schedule.take(1) == "a"


def test_failures_double_the_pause_up_to_a_limit() -> None:
    schedule = make_schedule(first_seconds=1, most_seconds=5)
    schedule.ask("a", 0)
    pauses = []
    now = 0.0
    for _ in range(5):
        assert schedule.take(now) == "a"
        pauses.append(schedule.fail("a", now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 5, 5]


def test_success_forgets_failures() -> None:
    schedule = make_schedule()
    for _ in range(3):
        schedule.ask("a", 0)
        schedule.take(100)
        schedule.fail("a", 0)
    schedule.take(100)
    schedule.succeed("a")
    schedule.ask("a", 100)
    schedule.take(100)
    assert schedule.fail("a", 100) == 1


def test_a_change_does_not_wait_for_the_pause_of_a_failure() -> None:
    schedule = make_schedule()
    schedule.ask("a", 0)
    schedule.take(0)
    schedule.fail("a", 0)
    schedule.ask("a", 0.1)
    assert schedule.take(0.1) == "a"


def test_failures_of_changes_within_a_pause_neither_lengthen_nor_postpone_it() -> None:
    schedule = make_schedule(first_seconds=8)
    schedule.ask("a", 0)
    schedule.take(0)
    assert schedule.fail("a", 0) == 8
    for now in (1, 2, 3):
        schedule.ask("a", now)
        assert schedule.take(now) == "a"
        assert schedule.fail("a", now) == 8 - now
    assert schedule.take(7.9) is None
    assert schedule.take(8) == "a"
    assert schedule.fail("a", 8) == 16


def test_a_change_within_a_pause_may_be_told_to_wait_for_longer() -> None:
    schedule = make_schedule(first_seconds=8)
    for now in (0, 1):
        schedule.ask("a", now)
        schedule.take(now)
        pause = schedule.fail("a", now, at_least_seconds=30 * now)
    assert pause == 30
    assert schedule.take(30) is None
    assert schedule.take(31) == "a"


def test_a_change_waits_when_the_server_asked_for_it() -> None:
    schedule = make_schedule()
    schedule.ask("a", 0)
    schedule.take(0)
    schedule.ask("a", 0)  # it changed while it was worked on
    assert schedule.fail("a", 0, at_least_seconds=30) == 30
    schedule.ask("a", 1)
    assert schedule.take(29) is None
    assert schedule.take(30) == "a"


def test_looks_that_were_overtaken_take_no_memory() -> None:
    schedule = make_schedule()
    schedule.ask("b", 5)
    for now in range(1000):
        schedule.ask("a", now + 86_400)
        schedule.ask("a", now)
        assert take_all(schedule, now) == (["b", "a"] if now == 5 else ["a"])
        schedule.succeed("a")
    schedule.ask("a", 2000)
    assert len(schedule._heap) < 100
    assert schedule.next_due() == 2000


def test_the_jitter_takes_off_at_most_half() -> None:
    backoff = Backoff(first_seconds=8, most_seconds=100)
    assert backoff.pause_seconds(1, 0) == 8
    assert backoff.pause_seconds(1, 1) == 4


def test_a_thousand_failures_do_not_overflow() -> None:
    assert Backoff(most_seconds=100).pause_seconds(10_000, 0) == 100


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "take", "succeed", "fail"]),
            st.sampled_from("abc"),
            st.integers(0, 5),
        ),
        max_size=60,
    )
)
def test_no_key_is_lost_or_worked_on_twice_at_once(steps: list[tuple[str, str, int]]) -> None:
    schedule = make_schedule()
    running: set[str] = set()
    wanted: set[str] = set()
    now = 0.0
    for action, key, number in steps:
        now += number
        if action == "ask":
            schedule.ask(key, now)
            wanted.add(key)
        elif action == "take":
            taken = schedule.take(now)
            assert taken not in running
            if taken is not None:
                running.add(taken)
                wanted.discard(taken)
        elif key in running:
            running.discard(key)
            if action == "succeed":
                schedule.succeed(key)
            else:
                schedule.fail(key, now)
                wanted.add(key)
    assert set(take_all(schedule, now + 1000)) == wanted - running


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock=clock, random=lambda: NO_JITTER)


def test_a_waiting_worker_gets_a_key_as_soon_as_there_is_one() -> None:
    async def scenario() -> str:
        queue = make_queue(Clock())
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        return await waiting

    assert asyncio.run(scenario()) == "a"


def test_a_waiting_worker_learns_that_an_earlier_time_was_asked_for() -> None:
    async def scenario() -> str:
        clock = Clock()
        queue = make_queue(clock)
        queue.add_after("a", 1000)
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        return await waiting

    assert asyncio.run(scenario()) == "a"


def test_a_closed_queue_hands_out_nothing() -> None:
    async def scenario() -> None:
        queue = make_queue(Clock())
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.close()
        with pytest.raises(QueueClosed):
            await waiting
        queue.add("a")
        with pytest.raises(QueueClosed):
            await queue.get()

    asyncio.run(scenario())
