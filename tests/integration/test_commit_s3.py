"""The commit protocol on a real S3 server."""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.output import Output
from batch_inference_runner.commit.verify import verify
from batch_inference_runner.errors import JobFailed, Unavailable
from batch_inference_runner.storage.store import StoreError
from testkit.commits import (
    commit_and_lose,
    do_not_pause,
    drive,
    expected_rows,
    make_config,
    plan_of,
    stage,
)
from testkit.faulty_store import Crash, Fault, FaultyStore
from testkit.readers import read_by_glob, read_by_manifest, visible_bytes
from testkit.s3 import running_s3
from testkit.s3_proxy import Mischief, misbehaving

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    do_not_pause(monkeypatch)


@pytest.mark.parametrize("mode", ["ErrorIfExists", "Overwrite"])
@pytest.mark.parametrize("fault", [Fault.CRASH_AFTER, Fault.LOST_RESPONSE])
def test_a_job_that_dies_at_a_write_is_resumed_exactly(server, mode, fault):
    for at in itertools.count(2, 5):
        store = server.store(f"sweep/{mode}/{fault.name}/{at}")
        if mode == "Overwrite":
            drive(store, make_config(name="earlier", model="file:///old.onnx"), attempt="p")
        config = make_config(mode=mode)
        faulty = FaultyStore(store, at=at, fault=fault)
        with contextlib.suppress(Crash, Unavailable, StoreError):
            drive(faulty, config, attempt="a")
        drive(store, config, attempt="b")
        before = visible_bytes(store)
        drive(store, config, attempt="c")
        assert visible_bytes(store) == before
        assert read_by_manifest(store) == read_by_glob(store) == expected_rows()
        assert verify(store) == ()
        if faulty.writes < at:
            break
    assert at > 12


def test_of_two_jobs_that_race_for_a_location_one_wins(server):
    for round_number in range(4):
        prefix = f"race/{round_number}"
        configs = [make_config(name=name) for name in ("one", "two", "three")]

        def run(config, prefix=prefix):
            try:
                return drive(server.store(prefix), config, attempt=config.job.name)
            except JobFailed as error:
                return error.reason

        with ThreadPoolExecutor(3) as pool:
            outcomes = list(pool.map(run, configs))
        refused = [outcome for outcome in outcomes if isinstance(outcome, Reason)]
        # A job that comes after the end of an equal one has nothing to do.
        assert set(refused) <= {Reason.OUTPUT_PATH_CLAIMED, Reason.OUTPUT_EXISTS}
        assert len(refused) < 3
        store = server.store(prefix)
        assert read_by_manifest(store) == read_by_glob(store) == expected_rows()


def test_a_store_that_ignores_conditions_is_refused_before_planning(server):
    with misbehaving(server.endpoint) as proxy:
        store = server.store("unsafe", endpoint=proxy.endpoint)
        proxy.choose = lambda _method, _path: Mischief.IGNORE_CONDITIONS
        planned = []
        with pytest.raises(JobFailed) as error:
            Output.open(store, make_config(), lambda: planned.append(1))
        assert error.value.reason is Reason.OUTPUT_STORE_UNSAFE
        assert not planned


def test_lost_responses_of_every_kind_leave_one_result(server):
    with misbehaving(server.endpoint) as proxy:
        kinds = itertools.cycle([None, None, Mischief.RESET_AFTER, None, Mischief.ERROR_AFTER])

        def choose(method, _path):
            return next(kinds) if method in ("PUT", "POST") else None

        proxy.choose = choose
        store = server.store("lost", endpoint=proxy.endpoint)
        for attempt in "abcdefghij":
            try:
                drive(store, make_config(), attempt=attempt, shards=4)
                break
            except (Unavailable, StoreError):
                continue
        plain = server.store("lost")
        assert read_by_manifest(plain) == read_by_glob(plain) == expected_rows(4)
        assert verify(plain) == ()


def test_a_committed_file_that_is_gone_for_good_fails_the_job(server):
    store = server.store("expired")
    _, lost = commit_and_lose(store, make_config())
    with pytest.raises(JobFailed) as failure:
        drive(store, make_config(), attempt="b")
    assert failure.value.reason is Reason.OUTPUT_PATH_CLAIMED
    assert lost.path in failure.value.message


def test_a_zombie_of_an_overwritten_job_changes_nothing(server):
    store = server.store("zombie")
    old = make_config(name="old", model="file:///old.onnx")
    zombie = Output.open(store, old, lambda: plan_of(old))
    drive(store, old, attempt="o")
    drive(store, make_config(name="new", mode="Overwrite"), attempt="n")
    before = visible_bytes(store)
    for shard in range(3):
        with pytest.raises(JobFailed, match="not this run's any more"):
            zombie.commit([stage(store, zombie, shard, "z", by_attempt=True)])
    with pytest.raises((JobFailed, Unavailable)):
        zombie.finalize(run={})
    assert visible_bytes(store) == before
