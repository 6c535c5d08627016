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
from testkit.faulty_store import FaultyStore, MemoryStore
from testkit.readers import read_by_glob, read_by_manifest


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


def finished(store):
    """A finished result; return its manifest and the keys of a part and of rejects."""
    manifest = drive(store, make_config(), attempt="a")
    return manifest, manifest.files[1].path, manifest.rejects[1].path


@pytest.mark.parametrize("mode", ["ErrorIfExists", "Append"])
@pytest.mark.parametrize("harm", ["gone", "cut"])
@pytest.mark.parametrize("kind", ["part", "rejects"])
def test_a_result_that_lacks_bytes_is_not_complete(store, mode, harm, kind):
    _, part, rejects = finished(store)
    key = part if kind == "part" else rejects
    body = store.get(key)
    store.delete([key])
    if harm == "cut":
        store.put(key, body[:-1])

    with pytest.raises(JobFailed) as failure:
        drive(store, make_config(mode=mode), attempt="b")

    said = "is gone" if harm == "gone" else f"has {len(body) - 1} bytes instead of {len(body)}"
    assert failure.value.reason is Reason.OUTPUT_EXISTS
    assert f"{store.uri + key!r} {said}" in failure.value.message
    assert all(way in failure.value.message for way in ("bij verify", "Overwrite", "location"))


@pytest.mark.parametrize("kind", ["part", "rejects"])
def test_nothing_is_added_to_a_result_that_lacks_bytes(store, kind):
    _, part, rejects = finished(store)
    key = part if kind == "part" else rejects
    store.delete([key])
    more = make_config(name="more", mode="Append", model="file:///more.onnx")

    with pytest.raises(JobFailed) as failure:
        drive(store, more, attempt="b")

    assert failure.value.reason is Reason.OUTPUT_EXISTS
    assert f"{store.uri + key!r} is gone" in failure.value.message
    assert "to be added to" in failure.value.message


def test_a_result_that_lacks_bytes_is_made_anew_by_overwriting_it(store):
    manifest, part, _ = finished(store)
    store.delete([part])

    anew = drive(store, make_config(mode="Overwrite"), attempt="b")

    assert anew.generation == manifest.generation + 1
    assert read_by_manifest(store) == read_by_glob(store) == expected_rows()


def test_a_result_is_not_thought_to_lack_what_a_listing_does(store, monkeypatch):
    manifest, _, _ = finished(store)
    monkeypatch.setattr(store, "list", lambda *_, **__: iter(()))
    assert drive(store, make_config(), attempt="b") == manifest


def test_files_of_a_complete_result_cost_no_request(store, monkeypatch):
    manifest, _, _ = finished(store)
    seen = FaultyStore(store)
    monkeypatch.setattr(seen, "info", lambda key: pytest.fail(f"asked for {key}"))
    assert drive(seen, make_config(), attempt="b") == manifest


def test_a_result_that_another_job_replaces_meanwhile_does_not_lack_files(store, monkeypatch):
    finished(store)
    other = make_config(name="other", mode="Overwrite", model="file:///other.onnx")
    listing = store.list

    def list_what_replaces_it(*arguments, **options):
        monkeypatch.setattr(store, "list", listing)
        drive(store, other, attempt="b", shards=0)
        return listing(*arguments, **options)

    monkeypatch.setattr(store, "list", list_what_replaces_it)
    with pytest.raises(JobFailed, match="already holds another result"):
        drive(store, make_config(), attempt="c")
