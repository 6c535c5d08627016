"""The object store against a real S3 server, and against a proxy that misbehaves."""

from __future__ import annotations

import os

import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location
from batch_inference_runner.commit.outcome import run_errors
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.plan.inputs import list_inputs
from batch_inference_runner.storage.location import open_file, open_parent, open_store
from batch_inference_runner.storage.object_store import ObjectStore
from batch_inference_runner.storage.store import (
    AccessDenied,
    AlreadyExists,
    NotFound,
    ObjectInfo,
    StoreError,
    VersionChanged,
)
from testkit.s3 import BUCKET, running_s3, write_credentials
from testkit.s3_proxy import Mischief, misbehaving

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def store(server, request):
    return server.store(f"tests/{request.node.name}")


def write(store, key, body):
    sink = store.open_sink(key)
    sink.write(body)
    return sink.commit()


def test_only_the_first_create_of_a_key_succeeds(store):
    store.create("a", b"1")
    with pytest.raises(AlreadyExists):
        store.create("a", b"2")
    assert store.get("a") == b"1"


def test_a_group_of_creates_reports_each_failure(store):
    store.create("b", b"0")
    failed = store.create_all(dict.fromkeys("abc", b"1"))
    assert list(failed) == ["b"]
    assert isinstance(failed["b"], AlreadyExists)
    assert (store.get("a"), store.get("b"), store.get("c")) == (b"1", b"0", b"1")


def test_publishing_does_not_replace(store):
    write(store, "_bij/x", b"mine")
    store.publish("_bij/x", "part")
    store.create("other", b"theirs")
    with pytest.raises(AlreadyExists):
        store.publish("_bij/x", "other")
    with pytest.raises(NotFound):
        store.publish("_bij/none", "part-2")
    assert (store.get("part"), store.get("other")) == (b"mine", b"theirs")


def test_an_empty_object_can_be_published(store):
    write(store, "_bij/x", b"")
    store.publish("_bij/x", "part")
    assert store.info("part").size == 0


def test_replace_needs_the_version_that_was_read(store):
    store.create("a", b"1")
    _, version = store.get_with_version("a")
    store.replace("a", b"2", version=version)
    with pytest.raises(VersionChanged):
        store.replace("a", b"3", version=version)
    assert store.get("a") == b"2"


def test_a_sink_that_is_aborted_leaves_nothing(store):
    sink = store.open_sink("small")
    sink.write(b"x")
    sink.abort()
    large = store.open_sink("large")
    for _ in range(10):
        large.write(b"x" * (1 << 20))
    large.abort()
    assert list(store.list()) == []


def test_a_large_sink_gives_size_and_hash_of_what_was_stored(store):
    import hashlib

    body = os.urandom(1 << 20) * 9 + b"end"
    sink = store.open_sink("large")
    for start in range(0, len(body), 1_000_000):
        sink.write(memoryview(body)[start : start + 1_000_000])
    written = sink.commit()
    assert (written.size, written.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert sink.commit() == written
    assert store.get("large") == body


def test_ranges_are_read_from_the_pinned_version_only(store):
    body = bytes(range(256)) * 4096
    store.create("a", body)
    info = store.info("a")
    file = store.open("a", size=info.size, version=info.version)
    ranges = [(1_000_000, 10), (0, 3), (5, 0), (500_000, 7)]
    assert [bytes(part) for part in file.read_ranges(ranges)] == [
        body[offset : offset + length] for offset, length in ranges
    ]
    _, version = store.get_with_version("a")
    store.replace("a", body[::-1], version=version)
    with pytest.raises(VersionChanged):
        file.read_at(0, 10)
    store.delete(["a"])
    with pytest.raises(NotFound):
        file.read_at(0, 10)


def test_a_listing_is_sorted_and_can_leave_a_folder_out(store):
    keys = ["_bij/a", "b/é #%2F/x", "b/c", "b.txt", "a b+c/k=v/p"]
    for key in keys:
        store.create(key, key.encode())
    assert [info.key for info in store.list()] == sorted(keys)
    assert [info.key for info in store.list(skip="_bij")] == sorted(keys[1:])
    assert [info.key for info in store.list("b")] == sorted(["b/é #%2F/x", "b/c"])
    assert all(store.get(key) == key.encode() for key in keys)
    store.delete([*keys, "never/there"])
    assert list(store.list()) == []


def test_what_a_listing_pins_can_be_opened_by_uri(server, store):
    store.create("d/a.bin", b"0123456789")
    location = Location(uri=store.uri + "d/*.bin", credentials_dir=str(server.credentials_dir))
    parent, pattern = open_parent(location)
    assert pattern == "*.bin"
    (found,) = parent.list()
    assert isinstance(found, ObjectInfo)
    file = open_file(
        parent.uri + found.key,
        credentials_dir=str(server.credentials_dir),
        size=found.size,
        version=found.version,
    )
    assert bytes(file.read_at(2, 3)) == b"234"


def test_wrong_keys_are_denied_and_not_shown(server, tmp_path):
    folder = write_credentials(tmp_path / "c", server.endpoint, secret="wrong-secret-value")
    store = open_store(Location(uri=f"s3://{BUCKET}/x/", credentials_dir=str(folder)))
    with pytest.raises(AccessDenied) as error:
        store.create("a", b"")
    assert "wrong-secret-value" not in str(error.value)
    assert "test-access-key" not in str(error.value)


def test_a_missing_bucket_is_named(server):
    store = ObjectStore("s3://no-such-bucket/x", str(server.credentials_dir))
    with pytest.raises(NotFound, match="no such bucket"):
        store.create("a", b"")
    with pytest.raises(NotFound, match="no such bucket"):
        list(store.list())


@pytest.mark.parametrize("path", ["x/", "x/*.csv", "x.csv", ""])
def test_a_missing_bucket_of_an_input_is_not_taken_for_an_empty_one(server, path):
    secret = str(server.credentials_dir)
    location = Location(uri=f"s3://no-such-bucket/{path}", credentials_dir=secret)
    with (
        pytest.raises(InvalidJob, match="no such bucket; create it") as refused,
        run_errors("listing the input", missing=Reason.INPUT_NOT_FOUND),
    ):
        list_inputs([location], DataFormat.CSV)
    assert refused.value.reason is Reason.INPUT_NOT_FOUND


@pytest.mark.parametrize("mischief", [Mischief.RESET_AFTER, Mischief.ERROR_AFTER])
def test_a_lost_response_is_not_taken_for_success(server, mischief):
    with misbehaving(server.endpoint) as proxy:
        store = server.store(f"lost/{mischief.name}", endpoint=proxy.endpoint)
        answers = iter([mischief])
        proxy.choose = lambda _method, _path: next(answers, None)
        with pytest.raises((AlreadyExists, StoreError)):
            store.create("a", b"1")
        assert store.get("a") == b"1"


def test_slow_down_is_waited_out(server):
    with misbehaving(server.endpoint) as proxy:
        store = server.store("slow", endpoint=proxy.endpoint)
        answers = iter([Mischief.SLOW_DOWN] * 3)
        proxy.choose = lambda _method, _path: next(answers, None)
        store.create("a", b"1")
        assert store.get("a") == b"1"
        assert sum("/slow/a" in line and line[:3] == "PUT" for line in proxy.requests) == 4


def test_a_truncated_answer_never_passes_for_the_object(server):
    with misbehaving(server.endpoint) as proxy:
        store = server.store("cut", endpoint=proxy.endpoint)
        store.create("a", b"x" * 100_000)
        info = store.info("a")
        answers = iter([Mischief.TRUNCATE])
        proxy.choose = lambda _method, _path: next(answers, None)
        file = store.open("a", size=info.size, version=info.version)
        try:
            data = bytes(file.read_at(0, 100_000))
        except StoreError:
            data = bytes(file.read_at(0, 100_000))
        assert data == b"x" * 100_000
