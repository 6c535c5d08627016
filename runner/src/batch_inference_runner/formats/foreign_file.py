"""A pinned object as pyarrow reads it: mapped where it is a local file, else by ranges."""

from __future__ import annotations

import bisect
import io
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_runner.storage.store import NotFound, StoreError, VersionChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batch_inference_runner.plan.plan import InputFile, Piece, Shard
    from batch_inference_runner.rows import Chunk
    from batch_inference_runner.storage.store import RandomAccess

    OpenFile = Callable[[InputFile], RandomAccess]

FETCH_ERRORS = (VersionChanged, NotFound, StoreError)
# What pyarrow raises on bytes that are not what they claim to be. A failed fetch is none of these,
# but running out of memory is one of pa.ArrowException: MemoryError has to be caught before them.
DECODE_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, IndexError)

# Reads of columns that are too large to prefetch go through windows of this size.
_WINDOW_BYTES = 4 * 1024 * 1024
_MOST_WINDOWS = 64


class RangedFile(io.RawIOBase):
    """A seekable file over a `RandomAccess`, for pa.PythonFile.

    Ranges given to `hold` are served without a request; other reads fetch a window each, so that
    a column decoded page by page costs one request for many pages. `failure` keeps the last fetch
    that failed, because what passes through a C++ reader may lose its type.
    """

    def __init__(self, source: RandomAccess) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self._source = source
        self._position = 0
        self._held: list[tuple[int, memoryview]] = []
        self._windows: dict[int, memoryview] = {}

    def hold(self, ranges: Sequence[tuple[int, int]], bodies: Sequence[memoryview]) -> None:
        """Serve `ranges` from `bodies` from now on, and forget what was held before."""
        starts = [offset for offset, _ in ranges]
        self._held = sorted(zip(starts, bodies, strict=True), key=lambda held: held[0])
        self._windows.clear()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def read(self, size: int | None = -1) -> memoryview:
        left = max(0, self._source.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted == 0:
            return memoryview(b"")
        try:
            body = self._bytes_at(self._position, wanted)
        except FETCH_ERRORS as failure:
            self.failure = failure
            raise
        self._position += len(body)
        return body

    def _bytes_at(self, offset: int, length: int) -> memoryview:
        index = bisect.bisect_right(self._held, offset, key=lambda held: held[0]) - 1
        if index >= 0:
            start, body = self._held[index]
            if offset + length <= start + len(body):
                return body[offset - start : offset - start + length]
        return self._windowed(offset, length)

    def _windowed(self, offset: int, length: int) -> memoryview:
        for start, body in self._windows.items():
            if start <= offset and offset + length <= start + len(body):
                return body[offset - start : offset - start + length]
        ahead = min(max(length, _WINDOW_BYTES), self._source.size - offset)
        body = self._source.read_at(offset, ahead)
        while len(self._windows) >= _MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]
        self._windows[offset] = body
        return body[:length]


class ForeignFile:
    """One input file, open for pyarrow. `ranged` is None where the file is mapped."""

    def __init__(self, file: InputFile, open_file: OpenFile) -> None:
        self.file = file
        self._open_file = open_file
        self.source = open_file(file)
        path = self.source.local_path()
        self.ranged = None if path is not None else RangedFile(self.source)
        self.arrow = self._as_arrow(path)

    def _as_arrow(self, path: str | None) -> pa.NativeFile:
        if path is None:
            return pa.PythonFile(self.ranged, "r")
        if self.source.size == 0:
            return pa.BufferReader(b"")  # nothing can be mapped
        return pa.memory_map(path)

    @property
    def size(self) -> int:
        """Bytes of the pinned object."""
        return self.source.size

    def raise_failed_fetch(self) -> None:
        """Raise the fetch that failed, if one did, so that it is not taken for corruption."""
        if self.ranged is not None and self.ranged.failure is not None:
            failure, self.ranged.failure = self.ranged.failure, None
            raise failure

    def raise_if_changed(self) -> None:
        """Raise VersionChanged when a mapped file is no longer the pinned one.

        A mapping shows writes of others silently; ranged reads compare versions by themselves.
        """
        if self.ranged is None:
            self._open_file(self.file).close()

    def close(self) -> None:
        """Release the mapping and the handle."""
        self.arrow.close()
        self.source.close()


def read_pieces(
    shard: Shard,
    read: Callable[[ForeignFile, Piece], Iterator[Chunk]],
    *,
    files: Sequence[InputFile],
    open_file: OpenFile,
) -> Iterator[Chunk]:
    """Read the pieces of a shard in order, each from its file of `files`, opened for it.

    Raises VersionChanged behind the last row of a piece whose file is no longer the pinned one.
    """
    for piece in shard.pieces:
        with closing(ForeignFile(files[piece.file], open_file)) as foreign:
            yield from read(foreign, piece)
            foreign.raise_if_changed()
