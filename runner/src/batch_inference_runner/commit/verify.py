"""Is an output what its manifest says? For `bij verify`, a process of its own.

Reads every file in blocks: sizes, hashes, and the rows of every file by its format, as somebody who
has never heard of the runner would count them. What lies on a store is fetched once, to a temporary
file.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from batch_inference_runner.commit.claim import read_claim
from batch_inference_runner.commit.foreign import find_strays, list_sizes
from batch_inference_runner.commit.manifest import read_manifest
from batch_inference_runner.commit.opening import is_finished
from batch_inference_runner.commit.outcome import run_errors
from batch_inference_runner.commit.row_count import RowCountError, count_rows
from batch_inference_runner.storage.store import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batch_inference_runner.commit.manifest import Manifest, ManifestFile
    from batch_inference_runner.storage.store import ObjectInfo, Store

_BLOCK_BYTES = 8 * 1024 * 1024


def verify(store: Store) -> tuple[str, ...]:
    """Return what is wrong with the output, one sentence each; empty if nothing is.

    Raises JobFailed and Unavailable when the output cannot be read.
    """
    with run_errors(f"verifying {store.uri!r}"):
        success = read_manifest(store)
        if success is None:
            return ("there is no _SUCCESS: the job has not finished, and nothing here is a result",)
        manifest = success[0]
        sizes = list_sizes(store)
        problems = [*_wrong_sums(manifest), *_strays(store, manifest, sizes)]
        for file in (*manifest.files, *manifest.rejects):
            problems += _wrong_file(store, file)
        return tuple(problems)


def _wrong_sums(manifest: Manifest) -> Iterable[str]:
    counts = manifest.counts
    accounted = counts.written + counts.rejected + counts.filtered
    if counts.read != accounted:
        yield f"{counts.read} rows were read, but {accounted} written, rejected or filtered"
    listed = sum(file.rows for file in manifest.files)
    if listed != counts.written:
        yield f"{counts.written} rows were written, but the files listed hold {listed}"
    rejected = sum(file.rows for file in manifest.rejects)
    if rejected > counts.rejected:
        yield f"{counts.rejected} rows were rejected, but the files listed hold {rejected}"
    paths = Counter(file.path for file in (*manifest.files, *manifest.rejects))
    for path, times in paths.items():
        if times > 1:
            yield f"{path!r} is listed {times} times"


def _strays(store: Store, manifest: Manifest, sizes: Mapping[str, int]) -> Iterable[str]:
    held = read_claim(store)
    if held is not None and not held[0].released and not is_finished(held[0], manifest):
        return  # another run is at work here; its files are listed when it has finished
    for key in find_strays(sizes, known=manifest.paths):
        yield f"{key!r} is not listed, but a part-* glob would read it"


def _wrong_file(store: Store, file: ManifestFile) -> Iterable[str]:
    try:
        info = store.info(file.path)
    except NotFound:
        yield f"{file.path!r} is missing"
        return
    if info.size != file.bytes:
        yield f"{file.path!r} has {info.size} bytes instead of {file.bytes}"
        return
    with _fetched(store, info) as (sha256, body):
        if sha256 != file.sha256:
            yield f"{file.path!r} has other bytes than were written (sha256 differs)"
            return
        try:
            rows = count_rows(file.path, body)
        except RowCountError as error:
            yield f"{file.path!r} cannot be read: {error}"
            return
    if rows is not None and rows != file.rows:
        yield f"{file.path!r} has {rows} rows instead of {file.rows}"


@contextmanager
def _fetched(store: Store, info: ObjectInfo) -> Iterator[tuple[str, BinaryIO]]:
    """Give the object's hash, and its bytes as a file; what is not local is copied to a disk."""
    source = store.open(info.key, size=info.size, version=info.version)
    digest = hashlib.sha256()
    path = source.local_path()
    try:
        with tempfile.TemporaryFile() if path is None else Path(path).open("rb") as file:
            for start in range(0, info.size, _BLOCK_BYTES):
                block = source.read_at(start, min(_BLOCK_BYTES, info.size - start))
                digest.update(block)
                if path is None:
                    file.write(block)
            file.seek(0)
            yield digest.hexdigest(), cast("BinaryIO", file)
    finally:
        source.close()
