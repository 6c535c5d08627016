"""A folder as a store."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from batch_inference_runner.storage.folder import Folder
from batch_inference_runner.storage.store import (
    AccessDenied,
    AlreadyExists,
    Misconfigured,
    NotFound,
    StoreError,
    Unsupported,
    VersionChanged,
    VolumeFull,
)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "out")


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def write(store, key, body):
    sink = store.open_sink(key)
    sink.write(body)
    return sink.commit()


def test_only_the_first_create_of_a_key_succeeds(folder, tmp_path):
    folder.create("a/b", b"1")
    with pytest.raises(AlreadyExists):
        folder.create("a/b", b"2")
    assert folder.get("a/b") == b"1"
    assert files_below(tmp_path / "out") == ["a/b"]


def test_of_many_threads_that_create_one_key_one_succeeds(folder):
    won = []

    def create(number):
        try:
            folder.create("k", str(number).encode())
            won.append(number)
        except AlreadyExists:
            pass

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [folder.get("k")] == [str(n).encode() for n in won]


def test_a_group_of_creates_reports_each_failure(folder):
    folder.create("b", b"0")
    failed = folder.create_all(dict.fromkeys("abc", b"1"))
    assert list(failed) == ["b"]
    assert isinstance(failed["b"], AlreadyExists)
    assert folder.get("b") == b"0"


def test_a_group_is_not_created_when_what_it_stands_on_is_missing(folder):
    with pytest.raises(NotFound):
        folder.create_all({"marker": b"1"}, after=["_bij/stage/x"])
    with pytest.raises(NotFound):
        folder.get("marker")


def test_a_sink_appears_as_a_whole_at_commit(folder, tmp_path):
    sink = folder.open_sink("d/x")
    sink.write(b"ab")
    sink.write(memoryview(b"cd"))
    sink.close()
    assert [f for f in files_below(tmp_path / "out") if not f.startswith("_bij/tmp/")] == []
    written = sink.commit()
    assert (written.key, written.size) == ("d/x", 4)
    assert written.sha256 == hashlib.sha256(b"abcd").hexdigest()
    assert folder.get("d/x") == b"abcd"


def test_what_is_cleaned_away_while_it_is_written_is_worth_another_try(folder, tmp_path):
    """Another driver has finished the job meanwhile; no input is missing, as NotFound would say."""
    sink = folder.open_sink("d/x")
    sink.write(b"ab")
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(StoreError, match="cleaned away"):
        sink.commit()


def test_a_sink_that_is_aborted_leaves_nothing(folder, tmp_path):
    sink = folder.open_sink("d/x")
    sink.write(b"ab")
    sink.abort()
    sink.abort()
    assert files_below(tmp_path / "out") == []


def test_a_sink_that_was_aborted_cannot_be_committed(folder, tmp_path):
    sink = folder.open_sink("d/x")
    sink.abort()
    with pytest.raises(StoreError, match="given up"):
        sink.commit()
    assert files_below(tmp_path / "out") == []


def test_a_thousand_small_sinks_hold_no_file_open_and_a_large_one_does(folder):
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    sinks = [folder.open_sink(f"k={number}/x") for number in range(1000)]
    for sink in sinks:
        sink.write(b"ab")
    assert open_files() == before
    for _ in range(3):
        sinks[0].write(bytes(200_000))
    assert open_files() == before + 1
    assert [sink.commit().size for sink in sinks] == [600_002, *[2] * 999]
    assert folder.get("k=0/x") == b"ab" + bytes(600_000)
    assert open_files() == before


def test_publishing_does_not_replace(folder):
    write(folder, "_bij/x", b"mine")
    folder.create("taken", b"theirs")
    folder.publish("_bij/x", "k=v/part")
    with pytest.raises(AlreadyExists):
        folder.publish("_bij/x", "taken")
    with pytest.raises(NotFound):
        folder.publish("_bij/none", "other")
    assert (folder.get("k=v/part"), folder.get("taken")) == (b"mine", b"theirs")


def test_replace_needs_the_version_that_was_read(folder):
    folder.create("a", b"1")
    _, version = folder.get_with_version("a")
    folder.replace("a", b"2", version=version)
    with pytest.raises(VersionChanged):
        folder.replace("a", b"3", version=version)
    assert folder.get("a") == b"2"


def test_a_listing_is_recursive_sorted_and_can_leave_a_folder_out(folder):
    for key in ("b/z", "b.txt", "_bij/q", "a/k=v/x"):
        folder.create(key, b"")
    assert [info.key for info in folder.list()] == ["_bij/q", "a/k=v/x", "b.txt", "b/z"]
    assert [info.key for info in folder.list(skip="_bij")] == ["a/k=v/x", "b.txt", "b/z"]
    assert [info.key for info in folder.list("a")] == ["a/k=v/x"]
    assert list(folder.list("none")) == []


def test_a_listing_may_ask_for_some_names_only(folder):
    for key in ("a.csv", "b.txt", "new/c.csv", "new/d.txt", "old/e.csv"):
        folder.create(key, b"")
    wanted = {"a.csv", "new/", "new/c.csv", "old/e.csv"}
    listed = folder.list(only=wanted.__contains__)
    assert [info.key for info in listed] == ["a.csv", "new/c.csv"]
    assert [info.key for info in folder.list("new", only=wanted.__contains__)] == ["new/c.csv"]


def test_the_lost_and_found_of_a_volume_is_no_part_of_it(folder, tmp_path):
    folder.create("a", b"")
    for place in ("lost+found", "below/lost+found"):
        (tmp_path / "out" / place).mkdir(parents=True)
        (tmp_path / "out" / place / "#12345").touch()
    assert [info.key for info in folder.list(skip="_bij")] == ["a"]


def test_a_link_to_nothing_is_no_object_and_hides_no_other(folder, tmp_path):
    for key in ("a", "below/b"):
        folder.create(key, b"")
    out = tmp_path / "out"
    (out / "gone").symlink_to("absent")
    (out / "below" / "loop").symlink_to("loop")
    (out / "below" / "no_folder").symlink_to("b/x")
    (out / "out_of_here").symlink_to(tmp_path / "absent")
    assert [info.key for info in folder.list(skip="_bij")] == ["a", "below/b"]
    assert {info.key: info.dangling for info in folder.list(skip="_bij", dangling=True)} == {
        "a": False,
        "below/b": False,
        "below/loop": True,
        "below/no_folder": True,
        "gone": True,
        "out_of_here": True,
    }


@pytest.mark.parametrize("name", ["file", "folder", "link"])
def test_what_vanishes_while_a_folder_is_listed_hides_nothing_else(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_text("f")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("other")
    (tmp_path / "other").write_text("o")
    real = os.scandir

    @contextmanager
    def losing(path):
        with real(path) as entries:
            found = list(entries)
        if path == str(tmp_path):
            (tmp_path / name).rename(tmp_path.parent / f"{name} of {tmp_path.name}")
        yield found

    monkeypatch.setattr(os, "scandir", losing)
    listed = {info.key for info in Folder(tmp_path).list(dangling=True)}
    assert listed == {"file", "link", "other"} - {name}


def test_deleting_is_idempotent_and_removes_empty_folders(folder, tmp_path):
    folder.create("a/b/c", b"")
    folder.create("a/d", b"")
    folder.delete(["a/b/c", "never/there"])
    folder.delete(["a/b/c"])
    assert not (tmp_path / "out/a/b").exists()
    folder.create("a/b/c", b"again")
    assert folder.get("a/b/c") == b"again"


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "", "a//b", "./a"])
def test_keys_cannot_lead_out_of_the_folder(folder, key):
    with pytest.raises(ValueError, match="not a key"):
        folder.get(key)
    with pytest.raises(ValueError, match="not a key"):
        folder.create(key, b"")


def test_links_are_followed_inside_the_folder_only(tmp_path):
    (tmp_path / "secret").write_text("s")
    root = tmp_path / "in"
    root.mkdir()
    (root / "real").write_text("r")
    (root / "inside").symlink_to("real")
    folder = Folder(root)
    assert [info.key for info in folder.list()] == ["inside", "real"]
    (root / "outside").symlink_to("../secret")
    for act in (lambda: list(folder.list()), lambda: folder.info("outside")):
        with pytest.raises(AccessDenied, match="leads out"):
            act()
    (root / "up").symlink_to("..")
    with pytest.raises(AccessDenied, match="leads out"):
        folder.create("up/x", b"")


def test_reads_stay_with_the_version_that_was_listed(folder, tmp_path):
    folder.create("a", b"0123456789")
    info = folder.info("a")
    file = folder.open("a", size=info.size, version=info.version)
    assert [bytes(part) for part in file.read_ranges([(2, 3), (9, 1)])] == [b"234", b"9"]
    path = tmp_path / "out/a"
    with path.open("r+b") as changed:
        changed.write(b"X")
    os.utime(path, ns=(1, 1))
    with pytest.raises(VersionChanged):
        file.read_at(0, 1)
    with pytest.raises(VersionChanged):
        folder.open("a", size=info.size, version=info.version)
    file.close()


@pytest.mark.parametrize(
    ("call", "number", "expected"),
    [
        ("write", errno.ENOSPC, VolumeFull),
        ("write", errno.EDQUOT, VolumeFull),
        ("fdatasync", errno.ENOSPC, VolumeFull),
        ("link", errno.EPERM, Unsupported),
        ("link", errno.ENOTSUP, Unsupported),
        ("link", errno.EROFS, AccessDenied),
        ("link", errno.EIO, StoreError),
    ],
)
def test_errors_of_the_file_system_say_what_they_mean(
    folder, tmp_path, monkeypatch, call, number, expected
):
    def failing(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    folder.create("warm", b"")
    monkeypatch.setattr(os, call, failing)
    with pytest.raises(expected):
        folder.create("a", b"1")
    monkeypatch.undo()
    assert files_below(tmp_path / "out") == ["warm"]


def test_a_folder_in_the_place_of_a_file_is_a_failure_that_no_other_try_cures(folder, tmp_path):
    (tmp_path / "out/_SUCCESS").mkdir(parents=True)
    with pytest.raises(Misconfigured, match="Is a directory; remove"):
        folder.get("_SUCCESS")


@pytest.mark.parametrize("act", [Folder.get, lambda folder, key: folder.create(key, b"")])
def test_links_that_lead_in_a_circle_are_a_failure_that_no_other_try_cures(tmp_path, act):
    (tmp_path / "out").symlink_to("out")
    with pytest.raises(Misconfigured, match="symbolic links; correct"):
        act(Folder(tmp_path / "out"), "_bij/x")


@pytest.mark.parametrize("act", [Folder.get, lambda folder, key: folder.create(key, b"")])
def test_a_name_that_is_too_long_is_a_failure_that_no_other_try_cures(folder, act):
    folder.create("warm", b"")
    with pytest.raises(Misconfigured, match="too long; shorten"):
        act(folder, "x" * 300)


def test_a_new_folder_is_made_durable_together_with_its_name(folder, tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def spy(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    folder.create("x/y/z", b"1")
    out = str(tmp_path / "out")
    assert {f"{out}/x/y", f"{out}/x", out, str(tmp_path)} <= set(synced)


def test_new_folders_above_the_root_are_made_durable_too(tmp_path, monkeypatch):
    synced, real = set(), os.fsync

    def spy(descriptor):
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    Folder(tmp_path / "a/b/c/out").create("x", b"1")
    new = {tmp_path / above for above in ("a/b/c/out", "a/b/c", "a/b", "a", ".")}
    assert new <= synced
    assert tmp_path.parent not in synced


def test_folders_that_another_process_has_made_survive_before_the_marker(tmp_path, monkeypatch):
    root = tmp_path / "out"
    driver = Folder(root)
    driver.create("_bij/claim.json", b"")
    write(Folder(root), "_bij/w/stage/5f/x", b"1")
    synced, real = [], os.fsync

    def spy(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    def fsyncs(name):
        synced.clear()
        driver.create_all({f"_bij/w/commit/5f/{name}": b""}, after=["_bij/w/stage/5f/x"])
        return [str(path.relative_to(root)) for path in synced if path != tmp_path]

    monkeypatch.setattr(os, "fsync", spy)
    first = fsyncs("a")
    marker = first.index("_bij/w/commit/5f")
    assert {"_bij", "_bij/w", "_bij/w/stage", "_bij/w/stage/5f"} <= set(first[:marker])
    assert fsyncs("b") == ["_bij/w/stage/5f", "_bij/w/commit/5f"]
