# A Path object for each call would cost more than the call itself.
# ruff: noqa: PTH103, PTH105, PTH106, PTH108, PTH112, PTH114, PTH116, PTH120
"""A folder of a POSIX file system as a store.

Objects appear under their key by a hard link to a file that is complete already, because a link
is the one way to take a name that is exclusive everywhere, NFS included. Half-written files lie
below `_bij/tmp` only, so a plain glob over the folder never sees one. Symbolic links are followed
as long as they stay inside the folder.

Durability is bought in groups: writeback of all files of a group is started before the first is
waited for, then each directory is synced once. Alone, a file costs ten times as much.

What only writing needs is imported when something is written: to list the input is among the first
things that a run does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from batch_inference_runner.storage.durability import sync_files, sync_folders
from batch_inference_runner.storage.folder_listing import check_inside, check_link, list_files
from batch_inference_runner.storage.keys import check_key
from batch_inference_runner.storage.local_file import LocalFile, version_of
from batch_inference_runner.storage.posix_errors import as_store_error
from batch_inference_runner.storage.store import (
    AlreadyExists,
    NotFound,
    ObjectInfo,
    StoreError,
    Unsupported,
    VersionChanged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from batch_inference_runner.storage.folder_sink import FolderSink

_TEMPORARY = "_bij/tmp"
_SMALL_BYTES = 16 * 1024
_LARGE_READ_BYTES = 16 * 1024 * 1024
_FILE_MODE = 0o666  # the process's umask decides
_LINKS_UNSUPPORTED = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_WRITE_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Folder:
    """A folder as a store; it need not exist before the first write."""

    scope = "posix"

    def __init__(self, path: str | Path) -> None:
        self._root = os.path.realpath(path)
        self.uri = f"file://{self._root.rstrip('/')}/"
        self._safe: set[str] = set()
        self._lasting: set[str] = set()
        self._topmost = os.path.dirname(f"{self._root}/name")
        self._counter = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _read_all(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise as_store_error(error, path) from error

    def get_with_version(self, key: str) -> tuple[bytes, str]:
        import hashlib

        # Two writes within one tick of the kernel's clock have the same time, hence the hash.
        body = self.get(key)
        return body, f"{self.info(key).version}-{hashlib.sha256(body).hexdigest()[:16]}"

    def create(self, key: str, body: bytes) -> None:
        failed = self.create_all({key: body})
        if failed:
            raise failed[key]

    def create_all(
        self, bodies: Mapping[str, bytes], *, after: Iterable[str] = ()
    ) -> dict[str, AlreadyExists | StoreError]:
        earlier = [self._path(key) for key in after]
        temporary = {key: self._write_temporary(body) for key, body in bodies.items()}
        try:
            sync_files([*earlier, *temporary.values()])
            self._sync_names(earlier)
            failed = self._link_all(temporary)
            self._sync_names(self._path(key) for key in bodies if key not in failed)
        finally:
            for path in temporary.values():
                with suppress(FileNotFoundError):
                    os.unlink(path)
        return failed

    def replace(self, key: str, body: bytes, *, version: str) -> None:
        path = self._path(key)
        temporary = self._write_temporary(body)
        try:
            sync_files([temporary])
            with self._replacing():
                try:
                    current = self.get_with_version(key)[1]
                except NotFound:
                    current = ""
                if current != version:
                    raise VersionChanged(f"{path!r} was replaced by someone else")
                os.replace(temporary, path)
            self._sync_names([path])
        except OSError as error:
            raise as_store_error(error, path) from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def open_sink(self, key: str) -> FolderSink:
        from batch_inference_runner.storage.folder_sink import FolderSink

        target = self._path(key, create=True)
        return FolderSink(key, temporary=self._new_temporary(), target=target)

    def publish(self, source: str, target: str) -> None:
        path = self._path(target, create=True)
        try:
            self._link(self._path(source), path)
        except FileNotFoundError:
            self._forget(target)
            self._link_again(source, target)
        except OSError as error:
            raise as_store_error(error, path) from error

    def info(self, key: str) -> ObjectInfo:
        path = self._path(key)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise NotFound(f"{path!r} is not a file")
            if os.path.islink(path):
                check_link(path, self._root)
        except OSError as error:
            raise as_store_error(error, path) from error
        return ObjectInfo(key, status.st_size, version_of(status))

    def list(
        self,
        prefix: str = "",
        *,
        skip: str | None = None,
        only: Callable[[str], bool] | None = None,
        dangling: bool = False,
    ) -> Iterator[ObjectInfo]:
        folder = prefix.strip("/")
        above = folder + "/" if folder else ""

        def takes(key: str) -> bool:
            return key != f"{above}{skip}/" and (only is None or only(key))

        try:
            path = self._path(folder) if folder else self._root
            found = list(list_files(path, above, root=self._root, takes=takes))
        except NotFound:
            return iter(())
        wanted = (info for info in found if dangling or not info.dangling)
        return iter(sorted(wanted, key=lambda info: info.key))

    def open(self, key: str, *, size: int, version: str) -> LocalFile:
        path = self._path(key)
        if os.path.islink(path):
            check_link(path, self._root)
        return LocalFile(path, size=size, version=version)

    def delete(self, keys: Iterable[str]) -> None:
        folders: set[str] = set()
        for key in keys:
            try:
                path = self._path(key)
                os.unlink(path)
            except (NotFound, FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise as_store_error(error, key) from error
            folders.add(key.rpartition("/")[0])
        for folder in sorted(folders, key=len, reverse=True):
            self._prune(folder)

    def sync(self, keys: Iterable[str]) -> None:
        paths = [self._path(key) for key in keys]
        sync_files(paths)
        self._sync_names(paths)

    def _path(self, key: str, *, create: bool = False) -> str:
        """Return the file's path. Raises NotFound and AccessDenied for its folder."""
        folder, _, name = key.rpartition("/")
        if folder in self._safe:
            check_key(name)
            return f"{self._root}/{key}"
        check_key(key)
        path = f"{self._root}/{key}"
        above = os.path.dirname(path)
        try:
            if create and not os.path.isdir(above):
                self._make(above)
            resolved = os.path.realpath(above, strict=True)
        except OSError as error:
            raise as_store_error(error, above) from error
        check_inside(resolved, above, self._root)
        self._safe.add(folder)
        return path

    def _new_temporary(self) -> str:
        with self._lock:
            self._counter += 1
            number = self._counter
        name = f"{os.getpid()}-{os.urandom(8).hex()}-{number}"
        return self._path(f"{_TEMPORARY}/{name}", create=True)

    def _write_temporary(self, body: bytes) -> str:
        path = self._new_temporary()
        try:
            descriptor = _open_new(path)
            try:
                view = memoryview(body)
                while view:
                    view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            with suppress(OSError):
                os.unlink(path)
            raise as_store_error(error, path) from error
        return path

    def _link_all(self, temporary: Mapping[str, str]) -> dict[str, AlreadyExists | StoreError]:
        failed: dict[str, AlreadyExists | StoreError] = {}
        for key, source in temporary.items():
            try:
                self._link_new(source, key)
            except (AlreadyExists, StoreError) as error:
                failed[key] = error
        return failed

    def _link_new(self, source: str, key: str) -> None:
        target = self._path(key, create=True)
        try:
            self._link(source, target)
        except FileNotFoundError:
            # Somebody pruned the empty folder between the check and the link.
            self._forget(key)
            target = self._path(key, create=True)
            try:
                self._link(source, target)
            except OSError as error:
                raise StoreError(f"{target!r}: {error.strerror}") from error
        except OSError as error:
            raise as_store_error(error, target) from error

    def _link_again(self, source: str, target: str) -> None:
        path = self._path(target, create=True)
        try:
            self._link(self._path(source), path)
        except OSError as error:
            raise as_store_error(error, source) from error

    def _link(self, source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _LINKS_UNSUPPORTED:
                raise
            raise Unsupported(
                f"{target!r} cannot be made a hard link ({error.strerror}): the file system must "
                f"support hard links; write to a local disk, NFS or an object store instead"
            ) from error

    @contextmanager
    def _replacing(self) -> Iterator[None]:
        """Keep others of this file system from replacing at the same time."""
        path = self._path(f"{_TEMPORARY}/replace.lock", create=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make(self, folder: str) -> None:
        above = folder
        while not os.path.isdir(above):
            self._lasting.discard(above)
            above = os.path.dirname(above)
        if len(above) < len(self._topmost):
            self._topmost = above  # the first that is there: all names below it are new
        os.makedirs(folder, exist_ok=True)

    def _sync_names(self, paths: Iterable[str]) -> None:
        folders = {os.path.dirname(path) for path in paths}
        for folder in folders - self._lasting:
            folders.update(self._until_lasting(folder))
        sync_folders(folders)
        self._lasting |= folders

    def _until_lasting(self, folder: str) -> Iterator[str]:
        """Find the folders above, whoever made them, that must be synced for this name to last."""
        while folder not in self._lasting and len(folder) > len(self._topmost):
            folder = os.path.dirname(folder)
            yield folder

    def _forget(self, key: str) -> None:
        self._safe.discard(key.rpartition("/")[0])

    def _prune(self, folder: str) -> None:
        while folder:
            self._safe.discard(folder)
            self._lasting.discard(f"{self._root}/{folder}")
            try:
                os.rmdir(f"{self._root}/{folder}")
            except OSError:
                return  # not empty, or in use: it may stay
            folder = folder.rpartition("/")[0]


def _open_new(path: str) -> int:
    try:
        return os.open(path, _WRITE_NEW, _FILE_MODE)
    except FileNotFoundError:
        # Somebody pruned the empty folder between the check and the open.
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, _WRITE_NEW, _FILE_MODE)


def _read_all(descriptor: int) -> bytes:
    parts = [os.read(descriptor, _SMALL_BYTES)]
    while more := os.read(descriptor, _LARGE_READ_BYTES):
        parts.append(more)
    return parts[0] if len(parts) == 1 else b"".join(parts)
