# As in `folder`: a Path object for each entry would cost more than all that is done with it.
# ruff: noqa: PTH114
"""Which files lie below a folder of a file system, and which links are no part of it.

Links to files are followed as long as they stay inside the store's root; links to folders are not.
Only what is asked for is looked at: what lies beside it may be unreadable.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from batch_inference_runner.storage.local_file import version_of
from batch_inference_runner.storage.posix_errors import as_store_error
from batch_inference_runner.storage.store import FileAccessDenied, NotFound, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOST_AND_FOUND = "lost+found"
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def list_files(
    path: str, prefix: str, *, root: str, takes: Callable[[str], bool]
) -> Iterator[ObjectInfo]:
    """List what `takes` accepts below a folder whose keys begin with `prefix`; as `Store.list`.

    Raises NotFound for the folder itself only: what vanishes below it is left out.
    """
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                yield from _found(entry, prefix + entry.name, root, takes)
    except OSError as error:
        raise as_store_error(error, path) from error


def check_link(path: str, root: str) -> None:
    """Raise FileAccessDenied for a link that leads out of the root."""
    check_inside(os.path.realpath(path), path, root)


def check_inside(resolved: str, path: str, root: str) -> None:
    """Raise FileAccessDenied if `path`, which resolves to `resolved`, leads out of the root."""
    if resolved != root and not resolved.startswith(root.rstrip("/") + "/"):
        raise FileAccessDenied(
            f"{path!r} is a link that leads out of {root!r}: links are followed inside the folder "
            f"only; copy the file, or name the folder it really lies in"
        )


def _found(
    entry: os.DirEntry[str], key: str, root: str, takes: Callable[[str], bool]
) -> Iterator[ObjectInfo]:
    if entry.is_dir(follow_symlinks=False):
        if entry.name != _LOST_AND_FOUND and takes(f"{key}/"):
            with suppress(NotFound):
                yield from list_files(entry.path, f"{key}/", root=root, takes=takes)
    elif entry.is_symlink():
        if takes(key) or takes(f"{key}/"):
            yield from _linked(entry, key, root, takes)
    elif entry.is_file(follow_symlinks=False) and takes(key):
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            yield ObjectInfo(key, status.st_size, version_of(status))


def _linked(
    entry: os.DirEntry[str], key: str, root: str, takes: Callable[[str], bool]
) -> Iterator[ObjectInfo]:
    status = _target(entry)
    if status is not None and stat.S_ISDIR(status.st_mode):
        if entry.name.startswith(".") or not takes(f"{key}/"):
            return  # `..data` of a mounted ConfigMap
        raise FileAccessDenied(
            f"{entry.path!r} is a link to a folder, and such links are not followed: name the "
            f"folder that it leads to"
        )
    if not takes(key):
        return
    if status is None:
        if os.path.islink(entry.path):  # else it vanished itself
            yield ObjectInfo(key, 0, "", dangling=True)
        return
    check_link(entry.path, root)
    if stat.S_ISREG(status.st_mode):
        yield ObjectInfo(key, status.st_size, version_of(status))


def _target(link: os.DirEntry[str]) -> os.stat_result | None:
    """Return what a link leads to, None if that is nothing."""
    try:
        return link.stat()
    except OSError as error:
        if error.errno not in _LEADS_NOWHERE:
            raise
        return None
