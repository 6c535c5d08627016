"""What computes on and on is noticed; what waits, or gets on, is not."""

from __future__ import annotations

import threading
import time

import pytest

from batch_inference_runner.score import computing
from batch_inference_runner.score.computing import ComputingProcess, ComputingThreads

MOST_SECONDS, DEADLINE_SECONDS = 0.2, 30
NEVER = threading.Event()


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    monkeypatch.setattr(computing, "_LOOK_SECONDS", 0.02)


def compute(until=lambda: False, *, cpu_seconds=DEADLINE_SECONDS) -> None:
    began = time.thread_time()
    while not until() and time.thread_time() - began < cpu_seconds:
        sum(range(1000))


def test_a_process_that_computes_without_progress_is_ended():
    ended = threading.Event()
    with ComputingProcess(MOST_SECONDS, ended.set):
        compute(until=ended.is_set)
    assert ended.is_set()


def test_a_process_that_waits_is_not_ended():
    ended = threading.Event()
    with ComputingProcess(MOST_SECONDS, ended.set):
        NEVER.wait(2 * MOST_SECONDS)
    assert not ended.is_set()


def test_a_process_that_gets_on_is_not_ended():
    ended = threading.Event()
    with ComputingProcess(5 * MOST_SECONDS, ended.set) as process:
        for _ in range(8):
            compute(cpu_seconds=MOST_SECONDS)
            process.progressed()
    assert not ended.is_set()


def test_nobody_is_ended_when_the_work_is_done():
    ended = threading.Event()
    with ComputingProcess(MOST_SECONDS, ended.set):
        pass
    compute(cpu_seconds=2 * MOST_SECONDS)
    assert not ended.is_set()


def test_a_thread_that_has_ended_is_not_overdue():
    threads = ComputingThreads(MOST_SECONDS)
    watched = threads.watched(1)
    thread = threading.Thread(target=watched.__enter__)
    thread.start()
    thread.join()
    assert threads.overdue() == set()


def test_only_the_thread_that_computes_is_overdue():
    threads, over = ComputingThreads(MOST_SECONDS), threading.Event()

    def wait():
        with threads.watched(1):
            over.wait(DEADLINE_SECONDS)

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        with threads.watched(2):
            compute(until=threads.overdue)
            assert threads.overdue() == {2}
        assert threads.overdue() == set()
    finally:
        over.set()
        waiting.join()
