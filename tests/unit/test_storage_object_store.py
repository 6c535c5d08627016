"""An object store whose service deletes one object at a time, and says so when one is missing."""

from __future__ import annotations

import obstore
import pytest

from batch_inference_runner.storage import object_store
from batch_inference_runner.storage.object_store import ObjectStore
from batch_inference_runner.storage.store import StoreError


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store whose client stops at the first missing key, as those of GCS and Azure do."""
    from obstore.store import LocalStore

    monkeypatch.setattr(object_store, "client_of", lambda *_, **__: LocalStore(tmp_path))
    return ObjectStore("gs://bucket")


def keys_of(store):
    return [info.key for info in store.list()]


@pytest.fixture
def asked(monkeypatch):
    """The prefixes below which everything was listed."""
    prefixes = []
    real = obstore.list

    def listing(client, *, prefix, **options):
        prefixes.append(prefix)
        return real(client, prefix=prefix, **options)

    monkeypatch.setattr(obstore, "list", listing)
    return prefixes


def test_a_listing_looks_into_the_folders_that_are_wanted(store, asked):
    for key in ("in/a.csv", "in/b.txt", "in/old/c.csv", "in/new/d.csv", "other"):
        store.create(key, b"x")
    wanted = {"in/a.csv", "in/new/", "in/new/d.csv", "in/old/c.csv"}
    listed = store.list("in", only=wanted.__contains__)
    assert [info.key for info in listed] == ["in/a.csv", "in/new/d.csv"]
    assert asked == ["in/new"]


def test_many_folders_that_are_wanted_are_listed_by_one_request(store, asked):
    keys = [f"in/day={day:02d}/x" for day in range(20)]
    for key in (*keys, "in/old/x"):
        store.create(key, b"x")
    listed = store.list("in", only=lambda key: not key.startswith("in/old/"))
    assert [info.key for info in listed] == keys
    assert asked == ["in"]


def test_a_missing_key_keeps_no_other_from_being_deleted(store):
    keys = [f"folder/{number:03d}" for number in range(300)]
    for key in keys[1:]:
        store.create(key, b"x")
    store.create("other", b"x")

    store.delete(keys)

    assert keys_of(store) == ["other"]


def test_keys_that_are_all_missing_are_deleted(store):
    store.delete(["a", "b"])


def test_a_key_that_cannot_be_deleted_is_an_error(store, tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StoreError, match="gs://bucket/a"):
        store.delete(["missing", "a"])
