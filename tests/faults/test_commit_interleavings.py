"""Two drivers of one job, interleaved at every single store operation, with faults.

Both score with attempts that differ in bytes and in file names. Whatever the order, the end is one
result, the same for both kinds of reader, and it does not change any more.
"""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_runner.commit import exclusive, marker, parallel, probe, publish
from batch_inference_runner.commit.verify import verify
from batch_inference_runner.errors import JobFailed, Unavailable
from batch_inference_runner.storage.store import StoreError
from testkit.commits import drive, expected_rows, make_config
from testkit.faulty_store import Crash, Fault, FaultyStore, MemoryStore
from testkit.readers import read_by_glob, read_by_manifest, visible_bytes

WAIT_SECONDS = 20


class Turns:
    """Lets one of several threads go on at a time, in the order of a schedule."""

    def __init__(self, schedule, names):
        self._schedule = iter(schedule)
        self._alive = list(names)
        self._changed = threading.Condition()
        self._turn = self._next()

    def wait(self, name):
        with self._changed:
            assert self._changed.wait_for(lambda: self._turn == name, WAIT_SECONDS)

    def pass_on(self):
        with self._changed:
            self._turn = self._next()
            self._changed.notify_all()

    def leave(self, name):
        with self._changed:
            self._alive.remove(name)
            if self._turn == name:
                self._turn = self._next()
            self._changed.notify_all()

    def _next(self):
        return self._alive[next(self._schedule, 0) % len(self._alive)] if self._alive else None


class TurnStore:
    """A store whose every operation waits for its driver's turn."""

    def __init__(self, inner, turns, name):
        self._inner, self._turns, self._name = inner, turns, name
        self.uri, self.scope = inner.uri, inner.scope

    def __getattr__(self, operation):
        def call(*arguments, **options):
            self._turns.wait(self._name)
            try:
                return getattr(self._inner, operation)(*arguments, **options)
            finally:
                self._turns.pass_on()

        return call


def run_both(store, configs, schedule, faults):
    """Run a driver for each config until it ends, one way or another."""
    names = [str(index) for index in range(len(configs))]
    turns = Turns(schedule, names)
    unexpected = []

    def run(name, config, fault):
        faulty = FaultyStore(TurnStore(store, turns, name), at=fault[0], fault=fault[1])
        try:
            turns.wait(name)
            drive(faulty, config, attempt=f"d{name}", by_attempt=True)
        except (Crash, Unavailable, StoreError, JobFailed):
            pass
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            unexpected.append(error)
        finally:
            turns.leave(name)

    threads = [
        threading.Thread(target=run, args=arguments)
        for arguments in zip(names, configs, faults, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert unexpected == []


faults = st.tuples(st.integers(0, 25), st.sampled_from(list(Fault)))


@pytest.mark.parametrize("scope", ["object", "posix"])
@pytest.mark.parametrize("mode", ["ErrorIfExists", "Overwrite", "Append"])
@settings(max_examples=40)
@given(schedule=st.lists(st.integers(0, 1), max_size=120), first=faults, second=faults)
def test_any_interleaving_ends_in_one_result(mode, scope, schedule, first, second):
    store = MemoryStore(scope=scope)
    with pytest.MonkeyPatch.context() as patch:
        for module in (exclusive, marker, probe, publish):
            patch.setattr(module, "DELAYS_SECONDS", (0.0, 0.0))
        # One thread a driver: the schedule is the only source of concurrency.
        for module in (marker, publish):
            patch.setattr(module, "run_each", lambda _store, call, items: [*map(call, items)])
        assert parallel.run_each is not marker.run_each
        if mode != "ErrorIfExists":
            drive(store, make_config(name="old", model="file:///old"), attempt="o")
        config = make_config(mode=mode)
        run_both(store, [config, config], schedule, [first, second])
        drive(store, config, attempt="r")
        before = visible_bytes(store)
        drive(store, config, attempt="s")
    rows = sorted(expected_rows() * (2 if mode == "Append" else 1))
    assert visible_bytes(store) == before
    assert read_by_manifest(store) == read_by_glob(store) == rows
    assert verify(store) == ()
