"""Writes one object of an object store."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from batch_inference_runner.storage.object_errors import obstore_errors
from batch_inference_runner.storage.store import (
    AlreadyExists,
    NotFound,
    StoreError,
    VersionChanged,
    Written,
)
from batch_inference_runner.storage.write_only import WriteOnlyFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore as Client

_PART_BYTES = 8 * 1024 * 1024
_CONCURRENT_PARTS = 4


class ObjectSink(WriteOnlyFile):
    """A single PUT when small, a multipart upload when not. Not for several threads at once.

    What an upload leaves behind when the process is killed is invisible; a lifecycle rule of the
    bucket that aborts incomplete multipart uploads removes it.
    """

    def __init__(self, client: Client, path: str, *, key: str, name: str) -> None:
        from obstore import open_writer

        super().__init__()
        self._key = key
        self._name = name
        self._hash = hashlib.sha256()
        self._written: Written | None = None
        self._over = False
        with _writing(name):
            self._writer = open_writer(
                client, path, buffer_size=_PART_BYTES, max_concurrency=_CONCURRENT_PARTS
            )

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        with _writing(self._name):
            self._writer.write(view)
        self._hash.update(view)
        self._size += view.nbytes
        return view.nbytes

    def commit(self) -> Written:
        """Complete the upload; a second call gives the same answer."""
        if self._written is not None:
            return self._written
        if self._over:
            raise StoreError(f"{self._name!r}: the upload was given up")
        self.closed = self._over = True
        with _writing(self._name):
            self._writer.close()
        self._written = Written(self._key, self._size, self._hash.hexdigest())
        return self._written

    def abort(self) -> None:
        self.closed = True
        if self._over:
            return
        self._over = True
        # Leaving the context by an exception is how a writer learns to abort its upload.
        with suppress(AlreadyExists, VersionChanged, StoreError), _writing(self._name):
            self._writer.__exit__(StoreError, StoreError("aborted"), None)


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """What is written is never NotFound, by which inputs are judged: it is worth another try."""
    try:
        with obstore_errors(name):
            yield
    except NotFound as error:
        raise StoreError(f"{error}; the upload, or its bucket, has gone") from error
