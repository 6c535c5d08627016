"""Makes files and names survive a power cut, in groups."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from batch_inference_runner.storage.posix_errors import as_store_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import ThreadPoolExecutor

_FILES_OPEN = 128
_WAITERS = 8
"""Threads that wait for the disk: a journal commit then serves several files, also under load."""


def sync_files(paths: Sequence[str]) -> None:
    """Return once the bytes of all files survive a power cut.

    Raises NotFound, AccessDenied, VolumeFull, StoreError.
    """
    for start in range(0, len(paths), _FILES_OPEN):
        _sync_group(paths[start : start + _FILES_OPEN])


def sync_folders(folders: Iterable[str]) -> None:
    """Return once the names in these folders survive a power cut."""
    for folder in sorted(set(folders)):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise as_store_error(error, folder) from error


def _sync_group(paths: Sequence[str]) -> None:
    descriptors: list[int] = []
    path = ""
    try:
        for path in paths:
            descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            # Begins to write dirty pages and does not wait: then few commits of the file system's
            # journal serve the whole group.
            os.posix_fadvise(descriptors[-1], 0, 0, os.POSIX_FADV_DONTNEED)
        _wait_for(descriptors)
    except OSError as error:
        raise as_store_error(error, path) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _wait_for(descriptors: Sequence[int]) -> None:
    if len(descriptors) < _WAITERS:
        for descriptor in descriptors:
            os.fdatasync(descriptor)
        return
    for _ in _waiters().map(os.fdatasync, descriptors):
        pass


@lru_cache(maxsize=1)
def _waiters() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_WAITERS, thread_name_prefix="fdatasync")
