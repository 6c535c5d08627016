"""Makes obstore clients: one per bucket and credentials, with one retry policy.

Credentials come from a folder of files, else from the environment's usual chain (variables, web
identity, container and instance metadata). S3 keys in a folder are read again every few minutes, so
a Secret that is rotated under a running pod takes effect; those of other stores are read once.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batch_inference_runner.storage.credentials import read_credentials, read_setting
from batch_inference_runner.storage.store import AccessDenied, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import ObjectStore as Client

_RETRY: dict[str, Any] = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=50),
        "max_backoff": timedelta(seconds=8),
        "base": 2,
    },
}
_REREAD_SECONDS = 300
_S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "token",
}
_S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables that may name the server, the first of them that does."""
_ENVIRONMENT = (
    *(*_S3_ENDPOINTS, "AWS_REGION", "AWS_DEFAULT_REGION", *_S3_KEYS),
    "AZURE_STORAGE_ENDPOINT",
)


def client_of(scheme: str, bucket: str, *, credentials_dir: str | None) -> Client:
    """Return the client for a bucket (https: the origin), shared by all that ask for it.

    Raises AccessDenied for credentials that cannot be read, Misconfigured for settings that no
    client can use.
    """
    environment = tuple(os.environ.get(name) for name in _ENVIRONMENT)
    return _client(scheme, bucket, credentials_dir, environment)


@lru_cache(maxsize=64)
def _client(
    scheme: str,
    bucket: str,
    credentials_dir: str | None,
    _environment: tuple[str | None, ...],
) -> Client:
    from obstore.exceptions import BaseError

    secrets = read_credentials(credentials_dir) if credentials_dir else {}
    try:
        match scheme:
            case "s3":
                return _s3(bucket, secrets, credentials_dir)
            case "gs":
                return _gs(bucket, secrets)
            case "az":
                return _azure(bucket, secrets)
            case _:
                return _https(bucket)
    except (BaseError, ValueError) as error:
        raise Misconfigured(
            f"{scheme}://{bucket}: the store's settings are refused ({type(error).__name__}); "
            f"check region, endpoint and credentials"
        ) from error


def _s3(bucket: str, secrets: Mapping[str, str], folder: str | None) -> Client:
    from obstore.store import S3Store

    ambient = filter(None, map(read_setting, _S3_ENDPOINTS))
    endpoint = secrets.get("AWS_ENDPOINT_URL") or next(ambient, "")
    region = secrets.get("AWS_REGION") or read_setting("AWS_REGION")
    config: dict[str, Any] = {
        "copy_if_not_exists": "multipart",
        "conditional_put": "etag",
        "client_options": _client_options(endpoint),
        "retry_config": _RETRY,
        "region": region or read_setting("AWS_DEFAULT_REGION") or "us-east-1",
    }
    if endpoint:
        config["aws_endpoint_url_s3"] = endpoint  # which alone no variable overrides
    if folder is not None and not _S3_KEYS.keys().isdisjoint(secrets):
        provider = config["credential_provider"] = _RereadKeys(folder)
        provider()  # so that a key that is missing is told before anything is spent
    else:
        keys = {option: read_setting(name) for name, option in _S3_KEYS.items()}
        config |= {option: value for option, value in keys.items() if value}
    return S3Store(bucket, **config)


class _RereadKeys:
    """Gives obstore the keys of a folder, and asks to be called again soon.

    Raises AccessDenied for half a pair: the environment's own keys are not what the job names.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self) -> dict[str, Any]:
        secrets = read_credentials(self._folder)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            if not secrets.get(name):
                raise AccessDenied(f"{self._folder!r} lacks {name!r}")
        expiry = datetime.now(UTC) + timedelta(seconds=_REREAD_SECONDS)
        keys = {option: secrets.get(name) or None for name, option in _S3_KEYS.items()}
        return {**keys, "expires_at": expiry}


def _gs(bucket: str, secrets: Mapping[str, str]) -> Client:
    from obstore.store import GCSStore

    key = secrets.get("GOOGLE_SERVICE_ACCOUNT_KEY") or secrets.get("GOOGLE_APPLICATION_CREDENTIALS")
    config: Any = {"service_account_key": key} if key else {}
    options: Any = {"client_options": _client_options(), "retry_config": _RETRY}
    return GCSStore(bucket, config=config, **options)


def _azure(container: str, secrets: Mapping[str, str]) -> Client:
    from obstore.store import AzureStore

    config: Any = {name.lower(): value for name, value in secrets.items() if name[:6] == "AZURE_"}
    endpoint = secrets.get("AZURE_STORAGE_ENDPOINT") or read_setting("AZURE_STORAGE_ENDPOINT")
    options: Any = {"client_options": _client_options(endpoint), "retry_config": _RETRY}
    return AzureStore(container, config=config, **options)


def _https(origin: str) -> Client:
    from obstore.store import HTTPStore

    options: Any = {"client_options": _client_options(), "retry_config": _RETRY}
    return HTTPStore(f"https://{origin}", **options)


def _client_options(endpoint: str = "") -> dict[str, Any]:
    return {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(seconds=120),
    }
