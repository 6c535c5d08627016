"""The commit point.

A shard is committed when, and only when, its marker exists: one small object at a name that
depends on the shard alone, created exclusively, which names the objects of one attempt with their
sizes, hashes and row counts. Everything before it may be lost, everything after it may be redone
by anyone.

    staged objects durable  ->  marker created (exactly one attempt wins)  ->  published  ->  listed

* Attempts may race, on purpose (a second try at a straggler) or not (a zombie). The store picks
  one; every other one reads the marker, adopts the winner and drops its own files.
* After any outcome but success the marker is read. It is there: the attempt that it names has
  won, even if that is an older one of ours whose response was lost. It is not: the same bytes are
  tried again. An attempt that gave up may still win later, when a delayed request arrives; that
  is harmless, because its staged objects are kept until the shard's marker was read.
* Markers are immutable, so one that was read once need not be read again.
* Markers outlive the job. If they were deleted with staging, a zombie that wakes up after the end
  would create one anew and publish files of another attempt beside the result: with `partitionBy`
  an attempt's files may differ in name. `bij gc` deletes them, when nothing of the job is alive.
"""

from __future__ import annotations

import gc
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.exclusive import DELAYS_SECONDS, FINAL
from batch_inference_runner.commit.layout import commit_folder, marker_key
from batch_inference_runner.commit.parallel import run_each
from batch_inference_runner.commit.staged import StagedShard
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.store import AlreadyExists, NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batch_inference_runner.storage.store import Store

MARKER_VERSION = 1

_decode = json.JSONDecoder().decode  # json.loads would guess the encoding of each marker


def commit_shards(
    store: Store,
    work: str,
    staged: Sequence[StagedShard],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> dict[int, StagedShard]:
    """Commit attempts at different shards; return, by shard, the attempt that has won.

    Raises NotFound when staged objects are gone, StoreError when an outcome stays unknown; some of
    the shards may be committed then.
    """
    pending = {marker_key(work, shard.shard): shard for shard in staged}
    winners: dict[int, StagedShard] = {}
    last: Exception = StoreError("nothing was tried")
    for delay in (*DELAYS_SECONDS, None):
        failed, error = _try_create(store, pending)
        last = error or next(iter(failed.values()), last)
        for key, shard in list(pending.items()):
            winner = shard if error is None and key not in failed else _find(store, key)
            if winner is not None:
                winners[shard.shard] = winner
                del pending[key]
        if not pending:
            return winners
        if delay is None or isinstance(last, (*FINAL, NotFound)):
            break
        pause(delay)
    raise last if isinstance(last, (StoreError, NotFound)) else StoreError(str(last))


def read_marker(store: Store, work: str, shard: int) -> StagedShard | None:
    """Return the attempt that was committed for a shard, None if there is none.

    Raises StoreError, and JobFailed(VersionSkew) for a marker of a newer release.
    """
    return _read(store, marker_key(work, shard))


def read_markers(store: Store, work: str, shards: Iterable[int]) -> dict[int, StagedShard]:
    """Read the markers of these shards by their keys; those without one are left out."""
    numbers = list(shards)
    with _no_collections():
        found = run_each(store, lambda shard: read_marker(store, work, shard), numbers)
        return {marker.shard: marker for marker in found if marker is not None}


def find_markers(store: Store, work: str, shards: Sequence[int]) -> dict[int, StagedShard]:
    """Find what an earlier driver has committed.

    On object stores this starts from a listing, which may lag; a marker that is missed is met
    again when its shard is committed.
    """
    if store.scope == "posix":
        return read_markers(store, work, shards)
    planned = set(shards)
    names = (info.key.rpartition("/")[2] for info in store.list(commit_folder(work)))
    listed = {int(name.removesuffix(".json")) for name in names if name[:-5].isdigit()}
    return read_markers(store, work, sorted(listed & planned))


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the cyclic garbage collector from walking all markers again for every few thousand."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _try_create(
    store: Store, pending: dict[str, StagedShard]
) -> tuple[dict[str, AlreadyExists | StoreError], Exception | None]:
    bodies = {key: _body_of(shard) for key, shard in pending.items()}
    objects = [file.staged_key for shard in pending.values() for file in shard.files]
    try:
        return store.create_all(bodies, after=objects), None
    except (NotFound, StoreError) as error:
        return {}, error


def _find(store: Store, key: str) -> StagedShard | None:
    try:
        return _read(store, key)
    except StoreError:
        return None  # unknown: tried again, or reported with the error of the write


def _read(store: Store, key: str) -> StagedShard | None:
    try:
        body = store.get(key)
    except NotFound:
        return None
    try:
        document = _decode(body.decode())
        if document["version"] == MARKER_VERSION:
            return StagedShard.from_json(document)
        problem = f"has version {document['version']!r}, this release reads {MARKER_VERSION}"
    except (ValueError, KeyError, TypeError, RecursionError):
        problem = "cannot be read"
    raise JobFailed(
        Reason.VERSION_SKEW,
        f"the commit marker {store.uri + key!r} {problem}: go on with the release that wrote it, "
        f"or give the output up with `bij gc OUTPUT --release`, which deletes all of it",
    )


def _body_of(shard: StagedShard) -> bytes:
    document = {"version": MARKER_VERSION, **shard.to_json()}
    return json.dumps(document, separators=(",", ":")).encode()
