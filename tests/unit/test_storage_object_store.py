"""An object store whose service deletes one object at a time, and says so when one is missing."""

from __future__ import annotations

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
