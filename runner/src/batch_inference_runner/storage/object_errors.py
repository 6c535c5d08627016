"""What errors of obstore mean to a store, without anything secret in their text.

The text of an obstore error holds the server's whole answer, which may repeat access keys and
signatures. Only the error code and message of S3-like answers are passed on.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batch_inference_runner.redaction import redact
from batch_inference_runner.storage.reread import CutShort
from batch_inference_runner.storage.store import (
    AccessDenied,
    AlreadyExists,
    Misconfigured,
    NoSuchBucket,
    NotFound,
    StoreError,
    Unsupported,
    VersionChanged,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

StoreFailure = AlreadyExists | NotFound | VersionChanged | StoreError

_CODE = re.compile(r"<Code>(\w{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,200})</Message>")
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]{1,40})")
_CUT = re.compile(r"response body|body error|end of file before message length")
_NO_BUCKET = frozenset(("NoSuchBucket", "ContainerNotFound"))
_NO_PATH = re.compile("invalid path|Could not parse path")
_DENIED = frozenset(
    (
        *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"),
        *("InvalidToken", "RequestTimeTooSkewed", "XAdminUserNotFound", "AuthenticationFailed"),
    )
)

_PANICS = "pyo3_runtime"
"""The module of what a panic raises, no Exception; nobody can import it."""


@contextmanager
def obstore_errors(name: str) -> Iterator[None]:
    """Turn what obstore raises on the object `name` (a URI) into the store's exceptions."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise as_store_failure(error, name) from error
    except BaseException as error:
        if type(error).__module__ != _PANICS:
            raise
        raise Misconfigured(
            f"{name!r}: the store's client cannot work with this URI or with its settings "
            f"({_summary(str(error), '')}); check region, endpoint and credentials"
        ) from error


def as_store_failure(error: Exception, name: str) -> StoreFailure:
    """Return the store's exception for an obstore error on the object `name` (a URI)."""
    from obstore import exceptions

    text = str(error)
    found = _CODE.search(text)
    code = found.group(1) if found else ""
    message = f"{name!r}: {_summary(text, code)}"
    if code in _NO_BUCKET:
        return NoSuchBucket(f"{name!r}: there is no such bucket")
    if code == "InvalidBucketName":
        return Misconfigured(f"{name!r}: no bucket can have this name; correct the URI")
    if isinstance(error, exceptions.InvalidPathError) or _NO_PATH.search(text):
        return Misconfigured(
            f"{message}: objects with such names cannot be read; rename them, or name a folder "
            f"without them"
        )
    denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(error, denied) or code in _DENIED:
        return AccessDenied(message)
    if isinstance(error, exceptions.AlreadyExistsError):
        return AlreadyExists(name)
    if isinstance(error, exceptions.PreconditionError):
        return VersionChanged(message)
    if isinstance(error, FileNotFoundError):
        return NotFound(name)
    if isinstance(error, exceptions.NotSupportedError):
        return Unsupported(message)
    return CutShort(message) if _CUT.search(text) else StoreError(message)


def _summary(text: str, code: str) -> str:
    if code:
        message = _MESSAGE.search(text)
        return f"{code}: {redact(message.group(1))}" if message else code
    status = _STATUS.search(text)
    if status:
        return status.group(1).strip()
    return redact(text.partition("\n")[0])[:200]
