"""One pinned object of an object store, read by ranges."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batch_inference_runner.storage.object_errors import obstore_errors
from batch_inference_runner.storage.reread import CutShort, read_again
from batch_inference_runner.storage.store import StoreError, VersionChanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obstore import ObjectMeta
    from obstore.store import ObjectStore as Client

GAP_BYTES = 256 * 1024
"""Ranges that are closer than this are fetched by one request: the gap costs less than a trip."""
PART_BYTES = 8 * 1024 * 1024
"""Longer ranges are fetched in parts, at the same time."""
_CONCURRENT_REQUESTS = 16


def version_of(meta: ObjectMeta) -> str:
    """Return the version of an object: its ETag, else its time of modification."""
    return meta.get("e_tag") or meta["last_modified"].isoformat()


class ObjectFile:
    """An object that must keep its ETag while it is read. Safe for several threads."""

    def __init__(self, client: Client, path: str, *, name: str, size: int, version: str) -> None:
        self.size = size
        self._client = client
        self._path = path
        self._name = name
        self._version = version

    def read_at(self, offset: int, length: int) -> memoryview:
        return self.read_ranges([(offset, length)])[0]

    def read_ranges(self, ranges: list[tuple[int, int]]) -> list[memoryview]:
        spans = coalesce(ranges)
        requests = [
            (at, min(PART_BYTES, start + length - at))
            for start, length in spans
            for at in range(start, start + length, PART_BYTES)
        ]
        if len(requests) <= 1:
            parts = [self._read(*request) for request in requests]
        else:
            parts = list(_pool().map(lambda request: self._read(*request), requests))
        fetched = _joined(spans, requests, parts)
        return [_slice_of(fetched, offset, length) for offset, length in ranges]

    def local_path(self) -> str | None:
        return None

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, offset: int, length: int) -> memoryview:
        return read_again(lambda: self._get(offset, length))

    def _get(self, offset: int, length: int) -> memoryview:
        from obstore import get

        options: Any = {"range": (offset, offset + length)}
        if self._version.endswith('"'):
            options["if_match"] = self._version
        with obstore_errors(self._name):
            result = get(self._client, self._path, options=options)
            meta = result.meta
            if meta["size"] != self.size or version_of(meta) != self._version:
                raise VersionChanged(f"{self._name!r} has changed since it was planned")
            data = memoryview(result.bytes())
        if len(data) != length:
            raise CutShort(f"{self._name!r}: the store sent {len(data)} of {length} bytes")
        return data


def coalesce(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join (offset, length) ranges that overlap or lie close; sorted, empty ones left out."""
    spans: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        if not length:
            continue
        if spans and offset <= spans[-1][0] + spans[-1][1] + GAP_BYTES:
            start = spans[-1][0]
            spans[-1] = (start, max(spans[-1][1], offset + length - start))
        else:
            spans.append((offset, length))
    return spans


def _joined(
    spans: Sequence[tuple[int, int]],
    requests: Sequence[tuple[int, int]],
    parts: Sequence[memoryview],
) -> list[tuple[int, memoryview]]:
    """Put the parts of each span together; a span of one part is not copied."""
    joined: list[tuple[int, memoryview]] = []
    position = 0
    for start, length in spans:
        end = position
        while end < len(requests) and requests[end][0] < start + length:
            end += 1
        own = parts[position:end]
        joined.append((start, own[0] if len(own) == 1 else memoryview(b"".join(own))))
        position = end
    return joined


def _slice_of(fetched: Sequence[tuple[int, memoryview]], offset: int, length: int) -> memoryview:
    if not length:
        return memoryview(b"")
    for start, data in fetched:
        if start <= offset and offset + length <= start + len(data):
            return data[offset - start : offset - start + length]
    raise StoreError(f"the range {offset}+{length} was not fetched")


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CONCURRENT_REQUESTS, thread_name_prefix="object-read")
