"""Which files belong to the dataset."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.plan.inputs import (
    check_output_apart,
    enters,
    list_inputs,
    matches,
    refuse_results,
)
from batch_inference_runner.plan.plan import InputFile
from batch_inference_runner.storage.store import AccessDenied


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("", "a.csv"),
        ("", "x/y/a.csv"),
        ("", "_k=v/a.csv"),
        ("*.csv", "a.csv"),
        ("a?c.csv", "abc.csv"),
        ("[a-c]*.csv", "b1.csv"),
        ("[!a-c]*.csv", "d1.csv"),
        ("x/*/a.csv", "x/y/a.csv"),
        ("**/*.csv", "a.csv"),
        ("**/*.csv", "x/y/z/a.csv"),
        ("x/**", "x/y/a.csv"),
        ("x/**/y/*.csv", "x/y/a.csv"),
        ("day=*/", "day=1/x/a.csv"),
        ("_x/*.csv", "_x/a.csv"),
        ("_*.csv", "_a.csv"),
        ("a[", "a["),
        ("a[[]1]", "a[1]"),
        ("[*][?].csv", "*?.csv"),
        ("[&&||~~].csv", "&.csv"),
        (r"[\[].csv", r"\.csv"),
        ("é*", "éa\n"),
    ],
)
def test_a_key_matches(pattern, key):
    assert matches(pattern, key)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("", "_SUCCESS"),
        ("", "x/_tmp/a.csv"),
        ("", ".hidden"),
        ("*.csv", "x/a.csv"),
        ("*.csv", "a.csv.gz"),
        ("*.csv", "_a.csv"),
        ("?.csv", "/.csv"),
        ("x[!a]y", "x/y"),
        ("**/*.csv", "x/.y/a.csv"),
        ("**/*.csv", "_rejects/a.csv"),
        ("*/a.csv", "_x/a.csv"),
        ("a.csv", "aXcsv"),
        ("day=*/", "day=1/_SUCCESS"),
    ],
)
def test_a_key_does_not_match(pattern, key):
    assert not matches(pattern, key)


@pytest.mark.parametrize("pattern", ["[z-a].csv", "x/[!9-0]/*.csv"])
def test_a_range_that_runs_backwards_is_refused(pattern):
    with pytest.raises(InvalidJob, match="range") as raised:
        matches(pattern, "x")
    assert raised.value.reason is Reason.INVALID_SPEC
    assert repr(pattern) in raised.value.message


def check_apart(source, target, *partition_by):
    inputs, output = [Location(uri=source)], Location(uri=target)
    check_output_apart(inputs, output, extension=".parquet", partition_by=partition_by)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3://b/in/", "s3://b/in/"),
        ("s3://b/in", "s3://b/in/out"),
        ("s3://b/in/**/*.parquet", "s3://b/in/out/"),
        ("s3://b/in/*.parquet", "s3://b/in/"),
        ("s3://b/*/*.parquet", "s3://b/out/"),
        ("s3://b/", "s3://b/x/../y"),
        ("s3://b/a [[]1]/", "s3://b/a [1]/out"),
    ],
)
def test_an_output_that_would_be_read_as_input_is_refused(source, target):
    with pytest.raises(InvalidJob) as raised:
        check_apart(source, target)
    assert raised.value.reason is Reason.INVALID_SPEC


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3://b/in/", "s3://b/out/"),
        ("s3://b/in/k=*/*.parquet", "s3://b/in"),
        ("s3://b/in/", "s3://b/in2/"),
        ("s3://b/in/*.csv", "s3://b/in/"),
        ("s3://b/in/a.parquet", "s3://b/in/"),
        ("s3://b/in/", "s3://b/in/_scores/"),
        ("s3://b/in/", "s3://other/in/"),
        ("s3://b/in/", "s3://b/"),
        ("s3://b/a[[]1]/", "s3://b/a1/out"),
    ],
)
def test_an_output_beside_the_input_is_accepted(source, target):
    check_apart(source, target)


@pytest.mark.parametrize(
    ("source", "partition_by"),
    [
        ("s3://b/in/k=*/*.parquet", ["k"]),
        ("s3://b/in/*/*.parquet", ["k"]),
        ("s3://b/in/country=*/day=*/*.parquet", ["country", "day"]),
        ("s3://b/in/**/day=*/*", ["country", "day"]),
    ],
)
def test_an_output_whose_partitions_would_be_read_as_input_is_refused(source, partition_by):
    with pytest.raises(InvalidJob, match="lies inside the input"):
        check_apart(source, "s3://b/in", *partition_by)
    check_apart(source, "s3://b/in", "other", "columns", "here")


RESULT = "part-000012-1f3a9c2e.jsonl.gz"


@pytest.mark.parametrize("name", [RESULT, f"country=DE/day=1/{RESULT}", "part-1234567-00000000.x"])
def test_a_result_of_the_output_is_no_input(name):
    with pytest.raises(InvalidJob, match="is a result of this or an earlier run") as raised:
        refuse_results([input_file("s3://b/out/" + name)], Location(uri="s3://b/x/../out"))
    assert raised.value.reason is Reason.INVALID_SPEC
    assert name in raised.value.message


@pytest.mark.parametrize(
    "uri",
    [
        "s3://b/out/country=DE/events.jsonl",
        "s3://b/out/part-00001-c0ffee.snappy.parquet",
        f"s3://b/out2/{RESULT}",
        f"s3://other/out/{RESULT}",
    ],
)
def test_other_files_are_input_wherever_they_lie(uri):
    refuse_results([input_file(uri)], Location(uri="s3://b/out"))


def test_a_result_is_known_behind_a_link(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(InvalidJob):
        refuse_results(
            [input_file(f"file://{tmp_path}/link/{RESULT}")], Location(uri=f"file://{tmp_path}/out")
        )


def input_file(uri):
    return InputFile(uri, 1, "1", 0)


def test_a_link_into_the_input_folder_is_seen(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "in")
    with pytest.raises(InvalidJob):
        check_apart(f"file://{tmp_path}/in/", f"file://{tmp_path}/out/")


@pytest.fixture
def dataset(tmp_path):
    for name in (
        "k=a%2Fb/day=2/y.csv",
        "k=c/day=1/x.csv",
        "k=c/day=1/_SUCCESS",
        "k=c/_rejects/x.csv",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "in"


def listed(*uris):
    return list_inputs([Location(uri=str(uri)) for uri in uris], DataFormat.CSV)


def test_a_folder_gives_its_files_with_partition_values(dataset):
    first, second = listed(f"file://{dataset}/")
    assert first.partition_values == (("k", "a/b"), ("day", "2"))
    assert second.partition_values == (("k", "c"), ("day", "1"))
    assert second.size == len("k=c/day=1/x.csv")
    assert second.version
    assert second.uri.startswith("file:///")


def test_a_folder_needs_no_trailing_slash(dataset):
    assert listed(f"file://{dataset}") == listed(f"file://{dataset}/")


def test_a_file_named_twice_is_read_once(dataset):
    files = listed(f"file://{dataset}/**/*.csv", f"file://{dataset}/", f"file://{dataset}/")
    assert [file.location for file in files] == [0, 0]


def test_partition_values_come_from_below_the_literal_part(dataset):
    (file,) = listed(f"file://{dataset}/k=c/*/x.csv")
    assert file.partition_values == (("day", "1"),)
    (file,) = listed(f"file://{dataset}/k=c/day=1/x.csv")
    assert file.partition_values == ()


def test_a_location_that_matches_nothing_is_named(dataset):
    with pytest.raises(InvalidJob, match="nothing_here") as raised:
        listed(f"file://{dataset}/", f"file://{dataset}/nothing_here/*.csv")
    assert raised.value.reason is Reason.INPUT_NOT_FOUND
    with pytest.raises(InvalidJob):
        listed(f"file://{dataset}/absent.csv")


@pytest.mark.parametrize(
    ("pattern", "folders"),
    [
        ("*.csv", []),
        ("", ["a/", "a/b/", "k=c/", "_k=v/"]),
        ("**/*.csv", ["a/", "a/b/", "k=c/", "_k=v/"]),
        ("*/*.csv", ["a/", "k=c/", "_k=v/"]),
        ("k=*/day=*/*.csv", ["k=c/"]),
        ("k=*/**", ["k=c/"]),
        ("[a]/**/c/*.csv", ["a/", "a/b/"]),
        ("**/_tmp/*.csv", ["a/", "a/b/", "k=c/", "_k=v/", "_tmp/"]),
    ],
)
def test_only_folders_below_which_a_glob_can_match_are_looked_into(pattern, folders):
    every = ["a/", "a/b/", "k=c/", "_k=v/", "_tmp/", "_tmp/x/", ".snapshot/", "a/.hidden/"]
    assert [folder for folder in every if enters(pattern, folder)] == folders


def test_what_a_glob_does_not_match_may_lie_beside_it_whatever_it_is(dataset):
    folder = dataset / "k=c/day=1"
    (folder / "archive").symlink_to("/usr")
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "named_as.csv").symlink_to("/usr")
    (file,) = listed(f"file://{folder}/*.csv")
    assert file.uri == f"file://{folder}/x.csv"
    for uri in (f"file://{folder}/", f"file://{folder}/*/*.csv", f"file://{folder}/pass*"):
        with pytest.raises(AccessDenied):
            listed(uri)


def test_a_folder_that_may_not_be_read_denies_only_what_would_be_in_it(dataset, monkeypatch):
    deny(monkeypatch, dataset / "private")
    assert len(listed(f"file://{dataset}/k=*/*/*.csv")) == 2
    with pytest.raises(AccessDenied, match="private"):
        listed(f"file://{dataset}/")


def test_the_lost_and_found_of_a_volume_is_not_read(dataset, monkeypatch):
    deny(monkeypatch, dataset / "lost+found")
    assert len(listed(f"file://{dataset}/")) == 2


def deny(patch, folder):
    folder.mkdir()
    real = os.scandir

    def denying(path):
        if str(path) == str(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    patch.setattr(os, "scandir", denying)


def test_a_link_to_nothing_is_refused_by_name_where_it_would_be_read(dataset):
    (dataset / "k=c/day=1/z.csv").symlink_to("absent.csv")
    with pytest.raises(InvalidJob, match=r"day=1/z\.csv' is a link that leads to noth") as raised:
        listed(f"file://{dataset}/")
    assert raised.value.reason is Reason.INPUT_NOT_FOUND
    assert len(listed(f"file://{dataset}/**/[xy].csv")) == 2


def test_a_name_that_is_not_utf_8_is_refused_by_its_bytes(dataset):
    Path(os.fsdecode(os.fsencode(dataset) + b"/k=c/day=1/caf\xe9.csv")).touch()
    with pytest.raises(InvalidJob, match=r"/day=1/caf\\xe9\.csv' is not UTF-8: rename it"):
        listed(f"file://{dataset}/")
    assert len(listed(f"file://{dataset}/**/[xy].csv")) == 2


def test_a_hidden_link_to_nothing_is_not_read(dataset):
    (dataset / ".#x.csv").symlink_to("user@host.4711")  # how Emacs locks a file
    assert len(listed(f"file://{dataset}/")) == 2


def test_a_name_that_looks_like_a_glob_is_found(dataset):
    (dataset / "a[1].csv").write_text("x")
    (file,) = listed(f"file://{dataset}/a[1].csv")
    assert file.size == 1


def test_a_folder_whose_wildcards_are_escaped_is_that_folder(dataset):
    for name in ("in [1]/z", "in 1/z"):
        (dataset.parent / name).mkdir(parents=True)
        (dataset.parent / name / "a[1].csv").write_text(name)
    folder = f"file://{dataset.parent}/in [[]1]"
    wanted = f"file://{dataset.parent}/in [1]/z/a[1].csv"
    for uri in (folder, f"{folder}/", f"{folder}/z/a[1].csv", f"{folder}/z/a[[]*", f"{folder}/*/"):
        assert [file.uri for file in listed(uri)] == [wanted], uri
    with pytest.raises(InvalidJob, match=r"matches 'file://.*/in \[1\]/y/'"):
        listed(f"{folder}/y/")


def test_a_linked_output_below_an_input_that_looks_like_a_glob_is_seen(tmp_path):
    (tmp_path / "in [1]").mkdir()
    (tmp_path / "out [1]").symlink_to(tmp_path / "in [1]")
    with pytest.raises(InvalidJob):
        check_apart(f"file://{tmp_path}/in [[]1]/", f"file://{tmp_path}/out [1]/x/")


def test_different_partition_keys_are_refused(dataset):
    (dataset / "plain.csv").write_text("x")
    with pytest.raises(InvalidJob, match=r"plain\.csv") as raised:
        listed(f"file://{dataset}/")
    assert raised.value.reason is Reason.SCHEMA_MISMATCH


def test_a_version_changes_with_the_file(dataset):
    uri = f"file://{dataset}/k=c/day=1/x.csv"
    (before,) = listed(uri)
    (dataset / "k=c/day=1/x.csv").write_text("longer than before")
    (after,) = listed(uri)
    assert (before.size, before.version) != (after.size, after.version)
