"""A prefix of an object store as a store: S3, Google Cloud Storage, Azure; https to read only.

Every byte goes through obstore: one client, one retry policy, uploads that are aborted when the
writer fails, reads pinned by If-Match. Exclusive creation is If-None-Match, exclusive publishing a
copy whose completion carries it. After an error of a write the outcome is unknown, and so it is
after AlreadyExists: obstore retries by itself and may have met its own first try. Who needs to
know reads back.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from batch_inference_runner.storage.clients import client_of
from batch_inference_runner.storage.keys import check_key
from batch_inference_runner.storage.object_errors import obstore_errors
from batch_inference_runner.storage.object_file import ObjectFile, version_of
from batch_inference_runner.storage.object_sink import ObjectSink
from batch_inference_runner.storage.reread import read_again
from batch_inference_runner.storage.store import (
    AlreadyExists,
    NotFound,
    ObjectInfo,
    StoreError,
    VersionChanged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from obstore import ObjectMeta

_CONCURRENT_WRITES = 16
_DELETE_BATCH = 1000
_CONCURRENT_READS = 16
_FEW_FOLDERS = 16
"""More are not listed each: one listing of everything, a thousand objects a request, is faster."""


class ObjectStore:
    """A prefix of a bucket. `uri` is `s3://bucket/prefix`, `gs://`, `az://` or `https://`."""

    scope = "object"

    def __init__(self, uri: str, credentials_dir: str | None = None) -> None:
        scheme, _, rest = uri.partition("://")
        bucket, _, prefix = rest.strip("/").partition("/")
        self._root = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.uri = f"{scheme}://{bucket}/{self._root}"
        self._by_generation = scheme == "gs"
        self._client = client_of(scheme, bucket, credentials_dir=credentials_dir)

    def get(self, key: str) -> bytes:
        return self.get_with_version(key)[0]

    def get_with_version(self, key: str) -> tuple[bytes, str]:
        body, meta = read_again(lambda: self._get(key))
        return body, str(meta["version"] if self._by_generation else meta["e_tag"])

    def create(self, key: str, body: bytes) -> None:
        self._put(key, body, mode="create")

    def create_all(
        self, bodies: Mapping[str, bytes], *, after: Iterable[str] = ()
    ) -> dict[str, AlreadyExists | StoreError]:
        del after  # what a store has acknowledged is durable
        if len(bodies) <= 1:
            outcomes = [self._try_create(*item) for item in bodies.items()]
        else:
            with ThreadPoolExecutor(min(_CONCURRENT_WRITES, len(bodies))) as pool:
                outcomes = list(pool.map(self._try_create, bodies.keys(), bodies.values()))
        return {key: outcome for key, outcome in zip(bodies, outcomes, strict=True) if outcome}

    def replace(self, key: str, body: bytes, *, version: str) -> None:
        member = "version" if self._by_generation else "e_tag"
        try:
            self._put(key, body, mode={member: version})
        except (AlreadyExists, NotFound) as error:
            raise VersionChanged(f"{self.uri + key!r} was replaced or removed") from error

    def open_sink(self, key: str) -> ObjectSink:
        return ObjectSink(self._client, self._path(key), key=key, name=self.uri + key)

    def publish(self, source: str, target: str) -> None:
        from obstore import copy

        with obstore_errors(self.uri + target):
            copy(self._client, self._path(source), self._path(target), overwrite=False)

    def info(self, key: str) -> ObjectInfo:
        from obstore import head

        with obstore_errors(self.uri + key):
            meta = head(self._client, self._path(key))
        return ObjectInfo(key, meta["size"], version_of(meta))

    def list(
        self,
        prefix: str = "",
        *,
        skip: str | None = None,
        only: Callable[[str], bool] | None = None,
        dangling: bool = False,  # noqa: ARG002 (object stores have no links)
    ) -> Iterator[ObjectInfo]:
        metas = read_again(lambda: self._list(prefix.strip("/"), skip, only))
        if only is not None:
            metas = [meta for meta in metas if only(self._key(meta["path"]))]
        found = [
            ObjectInfo(self._key(meta["path"]), meta["size"], version_of(meta))
            for meta in self._without_folder_markers(metas)
        ]
        return iter(sorted(found, key=lambda info: info.key))

    def open(self, key: str, *, size: int, version: str) -> ObjectFile:
        path = self._path(key)
        return ObjectFile(self._client, path, name=self.uri + key, size=size, version=version)

    def delete(self, keys: Iterable[str]) -> None:
        from obstore import delete

        paths = [self._path(key) for key in keys]
        for start in range(0, len(paths), _DELETE_BATCH):
            batch = paths[start : start + _DELETE_BATCH]
            try:
                with obstore_errors(self.uri):
                    delete(self._client, batch)
            except NotFound:
                # Not on S3, but elsewhere the first missing key ends the request for all others.
                with ThreadPoolExecutor(min(_CONCURRENT_WRITES, len(batch))) as pool:
                    list(pool.map(self._delete_one, batch))

    def sync(self, keys: Iterable[str]) -> None:
        """Nothing to do: what a store has acknowledged is durable."""

    def _delete_one(self, path: str) -> None:
        from obstore import delete

        with suppress(NotFound), obstore_errors(self.uri + self._key(path)):
            delete(self._client, path)

    def _get(self, key: str) -> tuple[bytes, ObjectMeta]:
        from obstore import get

        with obstore_errors(self.uri + key):
            result = get(self._client, self._path(key))
            return result.bytes().to_bytes(), result.meta

    def _put(self, key: str, body: bytes, *, mode: Any) -> None:
        from obstore import put

        with obstore_errors(self.uri + key):
            put(self._client, self._path(key), body, mode=mode, use_multipart=False)

    def _try_create(self, key: str, body: bytes) -> AlreadyExists | StoreError | None:
        try:
            self.create(key, body)
        except (AlreadyExists, StoreError) as error:
            return error
        except (NotFound, VersionChanged) as error:
            return StoreError(str(error))
        return None

    def _list(
        self, folder: str, skip: str | None, only: Callable[[str], bool] | None
    ) -> Sequence[ObjectMeta]:
        prefix = self._root + folder
        with obstore_errors(self.uri + folder):
            if skip is None and only is None:
                return self._list_below(prefix)
            metas, folders = self._list_level(prefix)
            if skip is not None:
                folders = [each for each in folders if each.rpartition("/")[2] != skip]
            if only is not None:
                folders = [each for each in folders if only(f"{self._key(each)}/")]
            if skip is None and len(folders) > _FEW_FOLDERS:
                return self._list_below(prefix)
            with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
                below = pool.map(self._list_below, folders)
                return [*metas, *(meta for each in below for meta in each)]

    def _list_below(self, prefix: str) -> Sequence[ObjectMeta]:
        from obstore import list as list_objects

        path = prefix.strip("/")
        return [
            meta
            for chunk in list_objects(self._client, prefix=path or None, chunk_size=1000)
            for meta in chunk
            if meta["path"] != path
        ]

    def _list_level(self, prefix: str) -> tuple[Sequence[ObjectMeta], Sequence[str]]:
        """Return the objects directly below a prefix, and the folders."""
        from obstore import list_with_delimiter

        path = prefix.strip("/")
        result = list_with_delimiter(self._client, prefix=path or None)
        metas = [meta for meta in result["objects"] if meta["path"] != path]
        return metas, [below.strip("/") for below in result["common_prefixes"]]

    def _without_folder_markers(self, metas: Sequence[ObjectMeta]) -> Sequence[ObjectMeta]:
        """Leave out the empty objects `folder/` that consoles make for a folder.

        A listing shows them as `folder`, like an empty file; but no object has that name.
        """
        empty = [meta["path"] for meta in metas if not meta["size"]]
        if not empty:
            return metas
        with ThreadPoolExecutor(min(_CONCURRENT_WRITES, len(empty))) as pool:
            exist = dict(zip(empty, pool.map(self._is_object, empty), strict=True))
        return [meta for meta in metas if exist.get(meta["path"], True)]

    def _is_object(self, path: str) -> bool:
        try:
            self.info(self._key(path))
        except NotFound:
            return False
        return True

    def _key(self, path: str) -> str:
        return path[len(self._root) :]

    def _path(self, key: str) -> str:
        check_key(key)
        return self._root + key
