"""How long a run is waited for that waits for something itself."""

from __future__ import annotations

import threading
import time

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import Interrupted, JobFailed, Unavailable
from batch_inference_runner.schedule.deadline import Deadline
from batch_inference_runner.schedule.run_thread import RunThread

NEVER = Deadline()


class Silence:
    """Something that does not answer until the test is over."""

    def __init__(self):
        self._ended = threading.Event()

    def wait(self):
        assert self._ended.wait(30)

    def end(self):
        self._ended.set()


@pytest.fixture
def silence():
    made = Silence()
    yield made
    made.end()


@pytest.fixture
def stopped():
    stop = threading.Event()
    stop.set()
    return stop


def long_over():
    return Deadline(time.monotonic() - 60)


def test_what_the_work_returns_is_returned():
    assert RunThread().finish(lambda: 7, stop=threading.Event(), deadline=NEVER) == 7


def test_the_work_has_a_thread_of_its_own_which_is_gone_afterwards():
    ran_in = RunThread().finish(threading.current_thread, stop=threading.Event(), deadline=NEVER)
    assert ran_in is not threading.current_thread()
    assert not ran_in.is_alive()


def test_what_the_work_raises_is_raised(stopped):
    def work():
        raise Unavailable("no answer")

    with pytest.raises(Unavailable, match="no answer"):
        RunThread(grace_seconds=0).finish(work, stop=stopped, deadline=long_over())


def test_work_that_ends_within_its_grace_ends_in_its_own_way(stopped):
    assert RunThread().finish(lambda: 7, stop=stopped, deadline=long_over()) == 7


def test_work_that_waits_is_left_some_time_after_it_was_to_stop(silence, stopped):
    with pytest.raises(Interrupted):
        RunThread(grace_seconds=0).finish(silence.wait, stop=stopped, deadline=NEVER)


def test_work_that_waits_is_left_some_time_after_the_deadline(silence):
    with pytest.raises(JobFailed) as failure:
        RunThread().finish(silence.wait, stop=threading.Event(), deadline=long_over())
    assert failure.value.reason is Reason.DEADLINE_EXCEEDED


def test_a_result_that_stands_is_returned_whatever_the_work_still_waits_for(silence, stopped):
    thread = RunThread(grace_seconds=0)

    def work():
        thread.settle(7)
        silence.wait()

    assert thread.finish(work, stop=stopped, deadline=long_over()) == 7
