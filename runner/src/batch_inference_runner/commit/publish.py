"""Gives staged objects of committed shards their final names.

Anyone may do it again: the name of a file follows from its shard, and the bytes from the marker,
so who finds the name taken finds the right bytes there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.exclusive import DELAYS_SECONDS, FINAL
from batch_inference_runner.commit.parallel import run_each
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.store import AlreadyExists, NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batch_inference_runner.commit.staged import StagedFile
    from batch_inference_runner.storage.store import Store


def publish_all(
    store: Store, files: Sequence[StagedFile], *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Publish files of committed shards; those that are published already are accepted.

    Raises JobFailed(OutputExists) when a name holds something else, NotFound when a staged object
    is gone, StoreError when an outcome stays unknown.
    """
    run_each(store, lambda file: _publish(store, file, pause), files)


def check_sizes(store: Store, files: Sequence[StagedFile], sizes: Mapping[str, int]) -> None:
    """Check published files against sizes from a listing; what it lacks is asked for by name.

    Raises JobFailed(OutputExists) and NotFound.
    """
    for file in files:
        size = sizes.get(file.path)
        _check_size(store, file, store.info(file.path).size if size is None else size)


def _publish(store: Store, file: StagedFile, pause: Callable[[float], None]) -> None:
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
        if _is_published(store, file):
            return
        if isinstance(last, NotFound) or delay is None:
            break
        pause(delay)
    raise last if isinstance(last, (NotFound, StoreError)) else StoreError(str(last))


def _is_published(store: Store, file: StagedFile) -> bool:
    try:
        size = store.info(file.path).size
    except (NotFound, StoreError):
        return False
    _check_size(store, file, size)
    return True


def _check_size(store: Store, file: StagedFile, size: int) -> None:
    if size != file.size:
        raise JobFailed(
            Reason.OUTPUT_EXISTS,
            f"{store.uri + file.path!r} holds {size} bytes that this job did not write (its own "
            f"file has {file.size}): somebody else writes to this output; remove the file, or use "
            f"another output location",
        )
