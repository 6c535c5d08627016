"""Settings of a store that can never work are refused before the store is asked."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location
from batch_inference_runner.commit.outcome import run_errors
from batch_inference_runner.errors import InvalidJob, JobFailed
from batch_inference_runner.storage.advice import advised, reason_of
from batch_inference_runner.storage.location import open_store
from batch_inference_runner.storage.object_store import ObjectStore
from batch_inference_runner.storage.store import AccessDenied, Misconfigured

AMBIENT = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"),
    "AZURE_STORAGE_ENDPOINT",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in AMBIENT:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def secret_of(folder, **changed):
    """A folder of credentials for S3, some of them changed, None: left out."""
    values = {
        "AWS_ACCESS_KEY_ID": "some-access-key",
        "AWS_SECRET_ACCESS_KEY": "some-secret-key",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        **changed,
    }
    for name, value in values.items():
        if value is not None:
            (folder / name).write_bytes(value.encode())
    return str(folder)


def settings_of(store):
    return store._client.config | {"allow_http": store._client.client_options["allow_http"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "minio"),
        ("AWS_ENDPOINT_URL", "minio:9000"),
        ("AWS_ENDPOINT_URL", "http://"),
        ("AWS_ENDPOINT_URL", "http://minio:port"),
        ("AWS_ENDPOINT_URL", "http://ex ample"),
        ("AWS_ENDPOINT_URL", "ftp://minio"),
        ("AWS_ENDPOINT_URL", "http://minio:9000?x=1"),
        ("AWS_REGION", "eu west\n1"),
        ("AWS_ACCESS_KEY_ID", "first\nsecond"),
        ("AWS_ACCESS_KEY_ID", "\ufeffsome-access-key"),
        ("AWS_SECRET_ACCESS_KEY", "first second"),
        ("AWS_SESSION_TOKEN", "first\nsecond"),
    ],
)
def test_a_setting_of_a_secret_that_no_client_can_use_is_named(tmp_path, name, value):
    folder = secret_of(tmp_path, **{name: value})
    with pytest.raises(Misconfigured, match=f"'{name}' in '{tmp_path}'") as refused:
        ObjectStore("s3://bucket/x", folder)
    assert repr(value)[1:-1] not in str(refused.value).partition(": ")[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "minio:9000"),
        ("AWS_ENDPOINT_URL_S3", "minio:9000"),
        ("AWS_ENDPOINT", "minio:9000"),
        ("AWS_REGION", "eu west"),
        ("AWS_SESSION_TOKEN", "first\nsecond"),
    ],
)
def test_a_setting_of_the_environment_that_no_client_can_use_is_named(environment, name, value):
    environment.setenv(name, value)
    with pytest.raises(Misconfigured, match=f"'{name}' in the environment"):
        ObjectStore("s3://bucket/x")


@pytest.mark.parametrize("value", [None, "", "\n"])
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_pair_of_keys_is_not_made_up_for_by_the_environment(
    tmp_path, environment, name, value
):
    environment.setenv("AWS_ACCESS_KEY_ID", "the-node-s-key")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "the-node-s-secret")
    with pytest.raises(AccessDenied, match=f"'{tmp_path}' lacks '{name}'"):
        ObjectStore("s3://bucket/x", secret_of(tmp_path, **{name: value}))


def test_a_token_alone_is_not_made_up_for_by_the_environment(tmp_path):
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    with pytest.raises(AccessDenied, match="lacks 'AWS_ACCESS_KEY_ID'"):
        ObjectStore("s3://bucket/x", secret_of(tmp_path, AWS_SESSION_TOKEN="token", **keys))


def test_a_secret_may_name_the_server_alone(tmp_path, environment):
    environment.setenv("AWS_ACCESS_KEY_ID", "the-node-s-key")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "the-node-s-secret")
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    store = ObjectStore("s3://bucket/x", secret_of(tmp_path, **keys))
    assert settings_of(store)["access_key_id"] == "the-node-s-key"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
@pytest.mark.parametrize(
    ("value", "endpoint", "allow_http"),
    [
        ("http://minio:9000", "http://minio:9000", "true"),
        ("HTTP://minio:9000/", "http://minio:9000/", "true"),
        ("https://minio", "https://minio", "false"),
    ],
)
def test_an_endpoint_of_the_environment_may_be_plain_http(
    environment, name, value, endpoint, allow_http
):
    environment.setenv(name, value)
    settings = settings_of(ObjectStore("s3://bucket/x"))
    assert (settings["endpoint_url_s3"], settings["allow_http"]) == (endpoint, allow_http)


def test_the_endpoint_of_a_secret_comes_first_then_the_one_of_s3(tmp_path, environment):
    environment.setenv("AWS_ENDPOINT_URL_S3", "http://of-s3")
    environment.setenv("AWS_ENDPOINT_URL", "https://of-all")
    assert settings_of(ObjectStore("s3://bucket/x"))["endpoint_url_s3"] == "http://of-s3"
    store = ObjectStore("s3://bucket/x", secret_of(tmp_path, AWS_ENDPOINT_URL="https://of-secret"))
    assert settings_of(store)["endpoint_url_s3"] == "https://of-secret"
    assert settings_of(store)["allow_http"] == "false"


def test_an_endpoint_of_azure_in_the_environment_may_be_plain_http(environment):
    environment.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    environment.setenv("AZURE_STORAGE_ENDPOINT", "http://azurite:10000")
    assert settings_of(ObjectStore("az://container/x"))["allow_http"] == "true"


def test_an_endpoint_of_azure_needs_its_scheme_too(tmp_path):
    (tmp_path / "AZURE_STORAGE_ACCOUNT_NAME").write_text("account")
    (tmp_path / "AZURE_STORAGE_ENDPOINT").write_text("azurite:10000")
    with pytest.raises(Misconfigured, match="AZURE_STORAGE_ENDPOINT"):
        ObjectStore("az://container/x", str(tmp_path))


def test_the_newline_at_the_end_of_a_value_is_no_part_of_it(tmp_path, environment):
    folder = secret_of(tmp_path, AWS_REGION="eu-west-1\n", AWS_ENDPOINT_URL="https://minio:9\r\n")
    environment.setenv("AWS_ACCESS_KEY_ID", "unused")
    assert settings_of(ObjectStore("s3://bucket/x", folder))["region"] == "eu-west-1"
    environment.setenv("AWS_ACCESS_KEY_ID", "ambient-key\n")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret\n")
    ambient = settings_of(ObjectStore("s3://bucket/x"))
    assert (ambient["access_key_id"], ambient["secret_access_key"]) == (
        "ambient-key",
        "ambient-secret",
    )


@pytest.mark.parametrize("uri", ["s3://my bucket/out", "s3://my\tbucket/out", "gs://\x7f/out"])
def test_a_bucket_whose_name_holds_whitespace_is_refused(uri):
    with pytest.raises(InvalidJob, match="whitespace") as refused:
        open_store(Location(uri=uri))
    assert refused.value.reason is Reason.INVALID_SPEC


class PanicException(BaseException):
    """What a panic of obstore raises; its module cannot be imported."""

    __module__ = "pyo3_runtime"


def test_a_panic_of_the_client_is_a_failure_that_no_other_try_cures(tmp_path, monkeypatch):
    store = ObjectStore("s3://bucket/x", secret_of(tmp_path))

    def panics(*_, **__):
        raise PanicException("request valid: InvalidUri(InvalidFormat)")

    for name in ("get", "put", "head", "list", "copy", "delete", "open_writer"):
        monkeypatch.setattr(f"obstore.{name}", panics)
    asked = (
        lambda: store.get("a"),
        lambda: store.create("a", b""),
        lambda: store.info("a"),
        store.list,
        lambda: store.publish("a", "b"),
        lambda: store.delete(["a"]),
        lambda: store.open_sink("a"),
        lambda: store.open("a", size=1, version="v").read_at(0, 1),
    )
    for ask in asked:
        with pytest.raises(Misconfigured, match=r"s3://bucket/x.*InvalidFormat"):
            ask()


def test_what_ends_the_process_is_no_panic(tmp_path, monkeypatch):
    store = ObjectStore("s3://bucket/x", secret_of(tmp_path))

    def ends(*_, **__):
        raise SystemExit(3)

    monkeypatch.setattr("obstore.get", ends)
    with pytest.raises(SystemExit):
        store.get("a")


def test_a_setting_is_a_permanent_failure_before_and_during_a_run():
    error = Misconfigured("'AWS_REGION' holds whitespace: write it without")
    assert (reason_of(error), advised(error)) == (Reason.INVALID_SPEC, str(error))
    with pytest.raises(InvalidJob, match="AWS"), run_errors("x", missing=Reason.INVALID_SPEC):
        raise error
    with pytest.raises(JobFailed, match="AWS_REGION") as during, run_errors("x"):
        raise error
    assert not isinstance(during.value, InvalidJob)


def test_settings_that_obstore_itself_refuses_are_a_permanent_failure(tmp_path):
    (tmp_path / "GOOGLE_SERVICE_ACCOUNT_KEY").write_text("{no json")
    with pytest.raises(Misconfigured, match="gs://bucket"):
        ObjectStore("gs://bucket/x", str(tmp_path))
