"""Files of committed shards that somebody, or a rule that expires objects, has deleted."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed, Unavailable
from batch_inference_runner.storage.store import StoreError
from testkit.commits import commit_and_lose, do_not_pause, drive, expected_rows, make_config
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
    config = make_config(mode=mode)
    lost = commit_and_lose(store, config)
    with pytest.raises(JobFailed) as failure:
        drive(store, config, attempt="b")
    assert failure.value.reason is Reason.OUTPUT_PATH_CLAIMED
    message = failure.value.message
    assert f"{store.uri + lost.path!r} is gone" in message
    assert "bij gc OUTPUT --release" in message
    assert "_SUCCESS" not in store.objects


def test_a_published_file_that_is_gone_is_published_again_from_its_staged_copy(store):
    config = make_config()
    commit_and_lose(store, config, staged_too=False)
    drive(store, config, attempt="b")
    assert read_by_glob(store) == expected_rows()


@pytest.mark.parametrize("unknown", ["publish", "info"])
def test_an_outage_is_not_taken_for_a_file_that_is_gone(store, monkeypatch, unknown):
    config = make_config()
    lost = commit_and_lose(store, config)
    working = getattr(store, unknown)

    def down(key, *target):
        if key in (lost.staged_key, lost.path):
            raise StoreError("no answer")
        return working(key, *target)

    monkeypatch.setattr(store, unknown, down)
    with pytest.raises(Unavailable, match="no answer"):
        drive(store, config, attempt="b")
