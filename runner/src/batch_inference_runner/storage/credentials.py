"""Reads credentials and settings: from a folder that holds one file per key, or the environment.

Space around a value, such as the newline that `echo` adds, is no part of it. Inside it, whitespace
is refused here: clients make headers and addresses of these values, and panic.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from batch_inference_runner.redaction import register_secret
from batch_inference_runner.storage.store import AccessDenied, Misconfigured

NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
)
_PUBLIC = frozenset(
    ("AWS_REGION", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT")
)
_DOCUMENTS = frozenset(("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT_KEY"))
_ENDPOINTS = re.compile("AWS_ENDPOINT.*|AZURE_STORAGE_ENDPOINT")
_ENDPOINT = re.compile(
    r"https?://([^/?#@]*@)?([^/?#@:\[\]]+|\[[\d.:a-f]+\])(:\d{1,5})?(/[^?#]*)?", re.IGNORECASE
)
_ONE_WORD = re.compile("[!-~]*")  # printable ASCII


def read_credentials(folder: str) -> dict[str, str]:
    """Return the values of the known keys that the folder has; logs will mask them.

    Raises AccessDenied when the folder cannot be read or has none of them, Misconfigured for a
    value that no client can use.
    """
    values: dict[str, str] = {}
    for name in NAMES:
        try:
            value = Path(folder, name).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise AccessDenied(f"the credential {name!r} in {folder!r} cannot be read") from error
        if name not in _PUBLIC:
            register_secret(value)
        values[name] = _checked(name, value, f"in {folder!r}")
    if not values:
        raise AccessDenied(
            f"{folder!r} holds no credentials: expected one file per key, such as {NAMES[0]!r} and "
            f"{NAMES[1]!r}"
        )
    return values


def read_setting(name: str) -> str:
    """Return a variable of the environment, empty if it is not set.

    Raises Misconfigured for a value that no client can use.
    """
    return _checked(name, os.environ.get(name, "").strip(), "in the environment")


def _checked(name: str, value: str, place: str) -> str:
    if name in _DOCUMENTS:
        return value
    if not _ONE_WORD.fullmatch(value):
        raise Misconfigured(
            f"{name!r} {place} holds whitespace or characters that are not printable ASCII: write "
            f"the bare value"
        )
    if value and _ENDPOINTS.fullmatch(name):
        return _checked_endpoint(name, value, place)
    return value


def _checked_endpoint(name: str, value: str, place: str) -> str:
    if not _ENDPOINT.fullmatch(value):
        raise Misconfigured(
            f"{name!r} {place} is no address of a server: write it with its scheme, as "
            f"http://minio:9000 or https://s3.example.com"
        )
    scheme, separator, rest = value.partition(":")
    return scheme.lower() + separator + rest
