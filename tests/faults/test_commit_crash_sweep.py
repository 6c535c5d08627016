"""Every write of a job, every way it can go wrong, before and after its effect; then a rerun.

After that: no row lost, none doubled, for readers of the manifest and of a `part-*` glob, and
nothing changes any more, whatever a zombie of the first run still does.
"""

from __future__ import annotations

import itertools
import os

import pytest

from batch_inference_runner.commit.output import Output
from batch_inference_runner.commit.verify import verify
from batch_inference_runner.errors import JobFailed, Unavailable
from batch_inference_runner.storage import durability, folder
from batch_inference_runner.storage.folder import Folder
from batch_inference_runner.storage.store import StoreError
from testkit.commits import do_not_pause, drive, expected_rows, make_config, plan_of, stage
from testkit.faulty_store import CRASHES, Crash, Fault, FaultyStore, MemoryStore
from testkit.readers import glob_parts, read_by_glob, read_by_manifest, visible_bytes

MODES = ("ErrorIfExists", "Overwrite", "Append")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    do_not_pause(monkeypatch)


def prepare(store, mode):
    """Leave an earlier result of another job, where the mode allows for one."""
    if mode != "ErrorIfExists":
        drive(store, make_config(name="earlier", model="file:///old.onnx", mode=mode), attempt="p")
    return make_config(mode=mode)


def assert_exact(store, mode):
    rows = expected_rows()
    rows = sorted(rows * 2) if mode == "Append" else rows
    assert read_by_manifest(store) == rows
    assert read_by_glob(store) == rows
    assert verify(store) == ()


def rerun(store, config):
    for attempt in ("r1", "r2"):
        manifest = drive(store, config, attempt=attempt)
    return manifest


def open_output(store, config):
    return Output.open(store, config, lambda: plan_of(config))


def awake(zombie, store, *, by_attempt):
    """A driver that everybody believed dead goes on: other attempts, then the end."""
    for shard in range(3):
        try:
            zombie.commit([stage(store, zombie, shard, "z", by_attempt=by_attempt)])
        except (Unavailable, JobFailed):
            continue
    try:
        zombie.finalize(run={})
    except (Unavailable, JobFailed):
        return


def suffer(make_store, mode, fault, *, by_attempt, zombie_first):
    """Sweep one kind of fault over all writes; return how many writes there were.

    The zombie opens the output before the driver that suffers, or after it.
    """
    for at in itertools.count(1):
        store = make_store()
        config = prepare(store, mode)
        zombie = open_output(store, config) if zombie_first else None
        faulty = FaultyStore(store, at=at, fault=fault)
        failed = False
        try:
            drive(faulty, config, attempt="a", by_attempt=by_attempt)
        except (Crash, Unavailable, StoreError):
            failed = True
        zombie = zombie or open_output(store, config)
        manifest = rerun(store, config)
        assert_exact(store, mode)
        before = visible_bytes(store)
        awake(zombie, store, by_attempt=by_attempt)
        assert visible_bytes(store) == before, f"{fault} at {at}: {faulty.log}"
        assert manifest.counts.read == (18 if mode == "Append" else 9)
        if faulty.writes < at:
            assert not failed
            return at - 1
    raise AssertionError


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zombie_first", [True, False])
def test_any_write_may_fail_in_any_way_in_memory(mode, fault, zombie_first):
    writes = suffer(MemoryStore, mode, fault, by_attempt=True, zombie_first=zombie_first)
    assert writes > 12


@pytest.mark.parametrize("fault", [Fault.CRASH_AFTER, Fault.LOST_RESPONSE])
@pytest.mark.parametrize("mode", MODES)
def test_any_write_may_fail_in_a_folder(tmp_path, mode, fault):
    numbers = itertools.count()
    writes = suffer(
        lambda: Folder(tmp_path / str(next(numbers))),
        mode,
        fault,
        by_attempt=False,
        zombie_first=False,
    )
    assert writes > 12


@pytest.mark.parametrize("mode", MODES)
def test_a_process_may_die_between_any_two_calls_of_the_file_system(tmp_path, monkeypatch, mode):
    names = ("link", "unlink", "rename", "replace", "fdatasync", "fsync", "rmdir", "write")
    real = {name: getattr(os, name) for name in names}
    calls, die_at = 0, 0

    def dying(name):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if die_at and calls >= die_at:
                raise Crash(name)
            return real[name](*arguments, **options)

        return call

    assert folder.os is durability.os is os
    at = 1
    while True:
        root = tmp_path / str(at)
        config = prepare(Folder(root), mode)
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, dying(name))
            calls, die_at = 0, at
            died = True
            try:
                drive(Folder(root), config, attempt="a")
                died = False
            except Crash:
                pass
        rerun(Folder(root), config)
        assert_exact(Folder(root), mode)
        assert not [key for key in glob_parts(Folder(root)) if "#" in key]
        if not died:
            break
        at += 3 if at > 6 else 1
    assert at > 40


@pytest.mark.parametrize("fault", CRASHES)
def test_a_crash_of_the_rerun_is_survived_as_well(fault):
    for first, second in itertools.product(range(1, 22, 4), range(1, 22, 3)):
        store = MemoryStore()
        config = make_config()
        for at in (first, second):
            try:
                drive(FaultyStore(store, at=at, fault=fault), config, attempt=f"a{at}")
            except Crash:
                continue
        rerun(store, config)
        assert_exact(store, "ErrorIfExists")
