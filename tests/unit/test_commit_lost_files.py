"""Files of committed shards that somebody, or a rule that expires objects, has deleted."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.output import Output
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
from testkit.faulty_store import MemoryStore
from testkit.readers import read_by_glob


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    do_not_pause(monkeypatch)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.mark.parametrize("mode", ["ErrorIfExists", "Overwrite"])
def test_a_committed_file_that_is_gone_for_good_fails_the_job(store, mode):
    output, lost = commit_and_lose(store, make_config(mode=mode))
    with pytest.raises(JobFailed) as failure:
        output.finalize(run={})
    assert_told(failure.value, store, lost)
    assert "_SUCCESS" not in store.objects


@pytest.mark.parametrize("mode", ["ErrorIfExists", "Overwrite"])
def test_a_driver_that_resumes_tells_it_before_anything_is_scored(store, mode):
    config = make_config(mode=mode)
    _, lost = commit_and_lose(store, config)
    resumed = Output.open(store, config, lambda: pytest.fail("planned twice"))
    with pytest.raises(JobFailed) as failure:
        resumed.committed()
    assert_told(failure.value, store, lost)


def assert_told(failure, store, lost):
    assert failure.reason is Reason.OUTPUT_PATH_CLAIMED
    assert f"{store.uri + lost.path!r} is gone" in failure.message
    assert "bij gc OUTPUT --release" in failure.message


@pytest.mark.parametrize("mode", ["ErrorIfExists", "Overwrite"])
def test_a_listing_that_lags_is_not_taken_for_files_that_are_gone(store, monkeypatch, mode):
    config = make_config(mode=mode)
    output = Output.open(store, config, lambda: plan_of(config))
    output.commit([stage(store, output, shard, "a") for shard in range(2)])
    monkeypatch.setattr(store, "list", lambda *_, **__: iter(()))
    monkeypatch.setattr(store, "scope", "posix")  # so that markers are found without a listing
    resumed = Output.open(store, config, lambda: pytest.fail("planned twice"))
    assert sorted(resumed.committed()) == [0, 1]


def test_a_published_file_that_is_gone_is_published_again_from_its_staged_copy(store):
    config = make_config()
    commit_and_lose(store, config, staged_too=False)
    drive(store, config, attempt="b")
    assert read_by_glob(store) == expected_rows()


@pytest.mark.parametrize("unknown", ["publish", "info"])
def test_an_outage_is_not_taken_for_a_file_that_is_gone(store, monkeypatch, unknown):
    output, lost = commit_and_lose(store, make_config())
    working = getattr(store, unknown)

    def down(key, *target):
        if key in (lost.staged_key, lost.path):
            raise StoreError("no answer")
        return working(key, *target)

    monkeypatch.setattr(store, unknown, down)
    with pytest.raises(Unavailable, match="no answer"):
        output.finalize(run={})
