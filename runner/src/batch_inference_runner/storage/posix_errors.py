"""What errors of a file system mean to a store."""

from __future__ import annotations

import errno

from batch_inference_runner.storage.store import (
    AlreadyExists,
    FileAccessDenied,
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
}


def as_store_error(error: OSError, name: str) -> AlreadyExists | NotFound | StoreError:
    """Return the store's exception for an error on the file `name`."""
    kind = _CLASSES.get(error.errno or 0, StoreError)
    advice = (
        "; give this user the right to, or name another place" if kind is FileAccessDenied else ""
    )
    return kind(f"{name!r}: {error.strerror or error}{advice}")
