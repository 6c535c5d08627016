"""One pinned file of a file system, read by ranges."""

from __future__ import annotations

import os

from batch_inference_runner.storage.posix_errors import as_store_error
from batch_inference_runner.storage.store import VersionChanged


def version_of(status: os.stat_result) -> str:
    """Return the version of a file: its time of modification in nanoseconds."""
    return str(status.st_mtime_ns)


class LocalFile:
    """A file that must keep its size and time of modification while it is read.

    The descriptor stays open, so a file that is replaced under the same name goes on giving the
    bytes that were pinned; one that is written in place raises VersionChanged.
    """

    def __init__(self, path: str, *, size: int, version: str) -> None:
        self.size = size
        self._path = path
        self._version = version
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise as_store_error(error, path) from error
        try:
            self._check()
        except VersionChanged:
            os.close(self._descriptor)
            self._descriptor = -1
            raise

    def read_at(self, offset: int, length: int) -> memoryview:
        """Read exactly `length` bytes."""
        buffer = bytearray(length)
        view = memoryview(buffer)
        done = 0
        while done < length:
            try:
                count = os.preadv(self._descriptor, [view[done:]], offset + done)
            except OSError as error:
                raise as_store_error(error, self._path) from error
            if count == 0:
                raise VersionChanged(f"{self._path!r} is shorter than it was when it was planned")
            done += count
        self._check()
        return view

    def read_ranges(self, ranges: list[tuple[int, int]]) -> list[memoryview]:
        return [self.read_at(offset, length) for offset, length in ranges]

    def local_path(self) -> str | None:
        return self._path

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _check(self) -> None:
        status = os.fstat(self._descriptor)
        if status.st_size != self.size or version_of(status) != self._version:
            raise VersionChanged(f"{self._path!r} has changed since it was planned")
