"""What errors of a file system mean to a store."""

from __future__ import annotations

import errno

from batch_inference_runner.storage.store import (
    AlreadyExists,
    FileAccessDenied,
    Misconfigured,
    NotFound,
    StoreError,
    VolumeFull,
)

_CLASSES: dict[int, type[AlreadyExists | NotFound | StoreError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.EEXIST: AlreadyExists,
    errno.ENOSPC: VolumeFull,
    errno.EDQUOT: VolumeFull,
    errno.EACCES: FileAccessDenied,
    errno.EPERM: FileAccessDenied,
    errno.EROFS: FileAccessDenied,
    errno.ENAMETOOLONG: Misconfigured,
    errno.ELOOP: Misconfigured,
    errno.EISDIR: Misconfigured,
}
_RIGHTS = "give this user the right to, or name another place"
_ADVICE = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENAMETOOLONG: "shorten it, or name another place",
    errno.ELOOP: "correct the link, or name another place",
    errno.EISDIR: "remove the folder, or name another place",
}


def as_store_error(error: OSError, name: str) -> AlreadyExists | NotFound | StoreError:
    """Return the store's exception for an error on the file `name`."""
    number = error.errno or 0
    advice = f"; {_ADVICE[number]}" if number in _ADVICE else ""
    return _CLASSES.get(number, StoreError)(f"{name!r}: {error.strerror or error}{advice}")
