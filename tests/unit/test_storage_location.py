"""From a URI to a store."""

from __future__ import annotations

import re

import pytest
from obstore.exceptions import GenericError, InvalidPathError

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.storage.credentials import read_credentials
from batch_inference_runner.storage.location import open_file, open_parent, open_store
from batch_inference_runner.storage.object_errors import as_store_failure
from batch_inference_runner.storage.object_file import GAP_BYTES, coalesce
from batch_inference_runner.storage.store import AccessDenied, Misconfigured, VersionChanged


@pytest.mark.parametrize(
    ("uri", "root", "rest"),
    [
        ("s3://b/a/c/*.parquet", "s3://b/a/c/", "*.parquet"),
        ("s3://b/a/*/x?.csv", "s3://b/a/", "*/x?.csv"),
        ("s3://b/a/x.csv", "s3://b/a/", "x.csv"),
        ("s3://b/a/", "s3://b/a/", ""),
        ("s3://b/*.csv", "s3://b/", "*.csv"),
        ("s3://b", "s3://b/", ""),
        ("gs://b/k=v/[ab].csv", "gs://b/k=v/", "[ab].csv"),
        ("s3://b/a[[]1]/[*]/x.csv", "s3://b/a[1]/*/", "x.csv"),
        ("s3://b/a[[]1]/x[?]*.csv", "s3://b/a[1]/", "x[?]*.csv"),
    ],
)
def test_a_location_is_split_before_its_first_wildcard(uri, root, rest, tmp_path):
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("some-access-key")
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("some-secret-key")
    store, pattern = open_parent(Location(uri=uri, credentials_dir=str(tmp_path)))
    assert (store.uri, pattern) == (root, rest)


def test_a_literal_location_is_no_pattern(tmp_path):
    uri = f"file://{tmp_path}/a[[]1]/m.onnx"
    assert open_parent(Location(uri=uri), literal=True)[0].uri == f"file://{tmp_path}/a[[]1]/"


def test_a_file_uri_is_taken_literally(tmp_path):
    (tmp_path / "a%20b c").write_bytes(b"0123")
    store, pattern = open_parent(Location(uri=f"file://{tmp_path}/a%20b c"))
    info = store.info(pattern)
    file = open_file(
        store.uri + info.key, credentials_dir=None, size=info.size, version=info.version
    )
    assert bytes(file.read_at(1, 2)) == b"12"
    assert file.local_path() == str(tmp_path / "a%20b c")
    with pytest.raises(VersionChanged):
        open_file(store.uri + info.key, credentials_dir=None, size=9, version=info.version)


@pytest.mark.parametrize(
    "uri", ["ftp://x/y", "/plain/path", "file://relative", "http://h/x", "s3://", "s3:/b"]
)
def test_what_no_store_understands_is_refused(uri):
    with pytest.raises(InvalidJob, match="location"):
        open_store(Location(uri=uri))


@pytest.mark.parametrize("opened", [open_store, open_parent])
@pytest.mark.parametrize(
    "path",
    ["a//b", "/b", "a/", "a/./b", "./a", "a/../b", "a\tb", "a/*//b.csv", "a/**/x\x7f.csv"],
)
def test_a_path_that_no_object_can_be_read_by_is_refused(opened, path):
    with pytest.raises(InvalidJob, match="empty names") as refused:
        opened(Location(uri=f"s3://bucket/{path}/"))
    assert refused.value.reason is Reason.INVALID_SPEC


@pytest.mark.parametrize("path", ["a//b", "a/./b", "a\tb"])
def test_a_path_of_a_file_system_is_left_to_it(path, tmp_path):
    (tmp_path / path).mkdir(parents=True)
    assert open_store(Location(uri=f"file://{tmp_path}/{path}/")).scope == "posix"


def test_a_password_in_a_uri_is_refused_and_not_repeated():
    with pytest.raises(InvalidJob) as error:
        open_store(Location(uri="https://user:hunter22@host/x?sig=abc"))
    assert "hunter22" not in str(error.value)
    assert "abc" not in str(error.value)


@pytest.mark.parametrize("opened", [open_store, open_parent])
def test_a_signed_url_is_refused_and_its_query_not_repeated(opened):
    uri = "https://host/m.onnx?X-Amz-Signature=hunter22"
    with pytest.raises(InvalidJob, match=r"'https://host/m\.onnx' has a query") as error:
        opened(Location(uri=uri))
    assert "hunter22" not in str(error.value)


def test_a_question_mark_in_the_name_of_an_object_is_no_query():
    _, name = open_parent(Location(uri="s3://bucket/a?.csv"), literal=True)
    assert name == "a?.csv"


def test_a_folder_without_credentials_is_named(tmp_path):
    with pytest.raises(AccessDenied, match="AWS_ACCESS_KEY_ID"):
        read_credentials(str(tmp_path))


def test_ranges_that_lie_close_share_a_request():
    far = 10 * GAP_BYTES
    assert coalesce([(far, 5), (0, 10), (20, 5), (5, 30), (7, 0)]) == [(0, 35), (far, 5)]


def test_an_error_repeats_nothing_of_the_answer_but_code_and_message():
    text = (
        "Error performing PUT - status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch"
        "</Code><Message>does not match</Message><AWSAccessKeyId>AKIASECRETSECRET12"
        "</AWSAccessKeyId><StringToSign>x</StringToSign></Error>"
    )
    failure = as_store_failure(RuntimeError(text), "s3://b/k")
    assert isinstance(failure, AccessDenied)
    assert str(failure) == "'s3://b/k': SignatureDoesNotMatch: does not match"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("<Code>InvalidBucketName</Code>"), "'s3://b/k'.*bucket.*correct"),
        (
            GenericError('Encountered object with invalid path: Path "d//old.csv" contained empty'),
            "d//old.csv.*rename",
        ),
        (InvalidPathError('Could not parse path: Path "d//old.csv" contained empty'), "d//old.csv"),
        (ValueError('Could not parse path: Path "d//old.csv" contained empty'), "d//old.csv"),
    ],
)
def test_a_name_that_cannot_be_asked_for_is_a_failure_that_no_other_try_cures(error, told):
    failure = as_store_failure(error, "s3://b/k")
    assert isinstance(failure, Misconfigured)
    assert re.search(told, str(failure))
