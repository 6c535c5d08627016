"""Gives staged objects of committed shards their final names.

Anyone may do it again: the name of a file follows from its shard, and the bytes from the marker,
so who finds the name taken finds the right bytes there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.claim import check_held
from batch_inference_runner.commit.exclusive import DELAYS_SECONDS, FINAL
from batch_inference_runner.commit.foreign import list_sizes
from batch_inference_runner.commit.layout import stage_folder
from batch_inference_runner.commit.parallel import run_each
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.store import AlreadyExists, NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batch_inference_runner.commit.claim import Claim
    from batch_inference_runner.commit.staged import StagedFile
    from batch_inference_runner.storage.store import Store


def publish_all(
    store: Store,
    files: Sequence[StagedFile],
    claim: Claim,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Publish files of shards that `claim` has committed; what is published already is accepted.

    Raises JobFailed: OutputExists when a name holds something else, OutputPathClaimed when a file
    is neither staged nor published any more. Raises StoreError when an outcome stays unknown.
    """
    run_each(store, lambda file: _publish(store, file, claim, pause), files)


def check_kept(store: Store, files: Sequence[StagedFile], claim: Claim) -> None:
    """Check that files of committed shards are there, published or still staged.

    Two listings tell; what both lack is asked for by name, because listings may lag.

    Raises JobFailed(OutputPathClaimed) for one that is gone, and the store's exceptions.
    """
    published = list_sizes(store)
    unpublished = [file for file in files if file.path not in published]
    if not unpublished:
        return
    staged = {info.key for info in store.list(stage_folder(claim.work))}
    for file in unpublished:
        # The staged copy first: if it has just been cleaned away, the other one was there before.
        if file.staged_key not in staged and not (
            _exists(store, file.staged_key) or _exists(store, file.path)
        ):
            check_held(store, claim)
            raise _lost(store, file)


def _exists(store: Store, key: str) -> bool:
    try:
        store.info(key)
    except NotFound:
        return False
    return True


def check_sizes(store: Store, files: Sequence[StagedFile], sizes: Mapping[str, int]) -> None:
    """Check published files against sizes from a listing; what it lacks is asked for by name.

    Raises JobFailed(OutputExists) and NotFound.
    """
    for file in files:
        size = sizes.get(file.path)
        _check_size(store, file, store.info(file.path).size if size is None else size)


def _publish(store: Store, file: StagedFile, claim: Claim, pause: Callable[[float], None]) -> None:
    last: Exception = StoreError("nothing was tried")
    for delay in (*DELAYS_SECONDS, None):
        try:
            store.publish(file.staged_key, file.path)
        except FINAL:
            raise
        except (AlreadyExists, NotFound, StoreError) as error:
            last = error
        else:
            return
        try:
            size = store.info(file.path).size
        except NotFound as error:
            if isinstance(last, NotFound) and delay is None:
                check_held(store, claim)
                raise _lost(store, file) from error
        except StoreError as error:
            last = error
        else:
            _check_size(store, file, size)
            return
        if delay is not None:
            pause(delay)
    raise last if isinstance(last, StoreError) else StoreError(str(last))


def _lost(store: Store, file: StagedFile) -> JobFailed:
    return JobFailed(
        Reason.OUTPUT_PATH_CLAIMED,
        f"{store.uri + file.path!r} is gone, although its shard is committed, and so is the copy "
        f"{file.staged_key!r}: somebody, or a rule that expires objects, has deleted them. Put the "
        f"file back and run again; or use another output location; or give this result up with "
        f"`bij gc OUTPUT --release`, which deletes everything that is committed, and start anew",
    )


def _check_size(store: Store, file: StagedFile, size: int) -> None:
    if size != file.size:
        raise JobFailed(
            Reason.OUTPUT_EXISTS,
            f"{store.uri + file.path!r} holds {size} bytes that this job did not write (its own "
            f"file has {file.size}): somebody else writes to this output; remove the file, or use "
            f"another output location",
        )
