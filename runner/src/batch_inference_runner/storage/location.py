"""From a URI to a store.

URIs are taken literally: nothing is percent-decoded, so `store.uri + key` always names the object
that `key` names. `file://` paths are absolute.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.redaction import public_uri
from batch_inference_runner.storage.wildcards import find_wildcard, unescape

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import Location
    from batch_inference_runner.storage.store import RandomAccess, Store

_NO_NAMES = frozenset(("", ".", ".."))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OBJECT_SCHEMES = ("s3", "gs", "az", "https")


def open_store(location: Location) -> Store:
    """Return the store whose root is the folder that the URI names.

    Raises InvalidJob for a URI that no store understands, AccessDenied and StoreError for
    credentials and settings that cannot be used.
    """
    return _open(location.uri, location.credentials_dir)


def open_parent(location: Location, *, literal: bool = False) -> tuple[Store, str]:
    """Return the store rooted at the URI's fixed folder part, and what remains of the URI.

    What remains is the pattern from the first name with a wildcard on, else the last name; it is
    empty when the URI ends with `/`. A `literal` URI is no glob: `[*]` in it are three characters.
    """
    scheme, rest = _split(location.uri)
    cut = rest.rfind("/", 0, find_wildcard(rest)) + 1
    if cut == 0:  # a bucket alone
        return _open(location.uri, location.credentials_dir), ""
    folder = rest[:cut] if literal else unescape(rest[:cut])
    return _open(f"{scheme}://{folder}", location.credentials_dir), rest[cut:]


def open_file(uri: str, *, credentials_dir: str | None, size: int, version: str) -> RandomAccess:
    """Open one object, pinned to the size and version that a listing gave.

    Raises NotFound and VersionChanged, for object stores at the first read only.
    """
    scheme, rest = _split(uri)
    if scheme == "file":
        from batch_inference_runner.storage.local_file import LocalFile

        # The listing has refused links that lead out of its folder; the version pins the target.
        return LocalFile(_path_of(uri, rest), size=size, version=version)
    folder, _, name = rest.rpartition("/")
    return _open(f"{scheme}://{folder}/", credentials_dir).open(name, size=size, version=version)


def _open(uri: str, credentials_dir: str | None) -> Store:
    scheme, rest = _split(uri)
    if scheme == "file":
        from batch_inference_runner.storage.folder import Folder

        return Folder(_path_of(uri, rest))
    from batch_inference_runner.storage.object_store import ObjectStore

    return ObjectStore(uri, credentials_dir)


def _split(uri: str) -> tuple[str, str]:
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in (*_OBJECT_SCHEMES, "file"):
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"the location {public_uri(uri)!r} is not understood: use file:///path, "
            f"s3://bucket/path, gs://bucket/path, az://container/path or https://host/path",
        )
    if scheme != "file" and not rest.strip("/"):
        raise InvalidJob(Reason.INVALID_SPEC, f"the location {public_uri(uri)!r} names no bucket")
    if scheme == "https" and "@" in rest.partition("/")[0]:
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"the location {public_uri(uri)!r} holds a user name or password; put credentials into "
            f"a Secret and name it by secretRef",
        )
    if scheme == "https" and "?" in rest:
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"the location {public_uri(uri)!r} has a query, and signed URLs are not supported: "
            f"name the object by s3://, gs:// or az:// and its credentials by secretRef",
        )
    if scheme != "file":
        _check_names(uri, rest)
    return scheme, rest


def _check_names(uri: str, rest: str) -> None:
    """Refuse what the client cannot ask for, or would ask for under another name."""
    bucket, _, path = rest.partition("/")
    if " " in bucket or not bucket.isprintable():
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"the bucket of the location {public_uri(uri)!r} holds whitespace or a control "
            f"character: correct its name",
        )
    names = path.removesuffix("/").split("/") if path else []
    if not _NO_NAMES.isdisjoint(names) or _CONTROL.search(path):
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"the location {public_uri(uri)!r} has empty names ('//'), names '.' or '..', or "
            f"control characters, and objects whose names have such cannot be read: correct the "
            f"URI, or copy them to other names",
        )


def _path_of(uri: str, rest: str) -> str:
    path = rest.removeprefix("localhost") if rest.startswith("localhost/") else rest
    if not path.startswith("/"):
        raise InvalidJob(
            Reason.INVALID_SPEC, f"the location {uri!r} is relative: write file:///absolute/path"
        )
    return path
