# The names are strings already, and thousands of files are written a second.
# ruff: noqa: PTH103, PTH104, PTH108, PTH120, PTH123
"""Writes one file of a folder."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from batch_inference_runner.storage.posix_errors import as_store_error
from batch_inference_runner.storage.store import StoreError, Written
from batch_inference_runner.storage.write_only import WriteOnlyFile

if TYPE_CHECKING:
    from typing import BinaryIO

_BUFFER_BYTES = 256 * 1024


class FolderSink(WriteOnlyFile):
    """A file that is renamed to its key when it is complete. Not for several threads at once.

    It is opened when there is more to write than a buffer holds: a shard with a thousand partitions
    writes as many small files side by side, which need neither a descriptor nor a buffer each.
    """

    def __init__(self, key: str, *, temporary: str, target: str) -> None:
        super().__init__()
        self._key = key
        self._temporary = temporary
        self._target = target
        self._hash = hashlib.sha256()
        self._written: Written | None = None
        self._over = False
        self._pending = bytearray()
        self._file: BinaryIO | None = None

    def write(self, data: bytes | memoryview) -> int:
        count = memoryview(data).nbytes
        try:
            if self._file is None and len(self._pending) + count <= _BUFFER_BYTES:
                self._pending += data
            else:
                self._opened().write(data)
        except OSError as error:
            raise _failure(error, self._target) from error
        self._hash.update(data)
        self._size += count
        return count

    def commit(self) -> Written:
        """Finish the file and give it its name; a second call gives the same answer."""
        if self._written is not None:
            return self._written
        self.closed = True
        try:
            self._opened().close()
            self._rename()
        except OSError as error:
            raise _failure(error, self._target) from error
        self._written = Written(self._key, self._size, self._hash.hexdigest())
        return self._written

    def abort(self) -> None:
        self.closed = self._over = True
        self._pending.clear()
        if self._file is None:
            return
        with suppress(OSError):
            self._file.close()
        if self._written is None:
            with suppress(OSError):
                os.unlink(self._temporary)

    def _opened(self) -> BinaryIO:
        if self._over:
            raise StoreError(f"{self._target!r}: the file was given up")
        if self._file is None:
            # Closed by `commit` or `abort`, not by a `with` block.
            self._file = open(self._temporary, "xb", buffering=_BUFFER_BYTES)  # noqa: SIM115
            self._file.write(self._pending)
            self._pending.clear()
        return self._file

    def _rename(self) -> None:
        if os.path.lexists(self._target):
            raise StoreError(f"{self._target!r} exists already: keys of sinks are used once")
        try:
            os.rename(self._temporary, self._target)
        except FileNotFoundError:
            # The folder was empty, and somebody has cleaned it up.
            os.makedirs(os.path.dirname(self._target), exist_ok=True)
            os.rename(self._temporary, self._target)


def _failure(error: OSError, path: str) -> Exception:
    """What is written is never NotFound, by which inputs are judged: it is worth another try."""
    if isinstance(error, FileNotFoundError):
        return StoreError(
            f"{path!r} was cleaned away while it was written, as by a driver that has finished "
            "this job meanwhile"
        )
    return as_store_error(error, path)
