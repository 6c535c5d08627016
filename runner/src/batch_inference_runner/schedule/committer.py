"""The thread that commits what was staged, in groups.

Groups matter on a file system, where making names durable costs the same for one shard as for
fifty; and scorers need not wait for a store's answer.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.commit.output import Output
    from batch_inference_runner.commit.staged import StagedShard

_LARGEST_GROUP = 64
_FLUSH_SECONDS = 5
"""Less than a pod has to end: a store that does not answer must not cost the run's last report."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Shards that are committed, each by the attempt that won."""

    shards: tuple[StagedShard, ...]


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The store could not be reached, or refused."""

    error: Exception


class Committer:
    """Commits in the background; `report` is called with Committed or CommitFailed."""

    def __init__(self, output: Output, report: Callable[[Committed | CommitFailed], None]) -> None:
        self._output = output
        self._report = report
        self._staged: queue.SimpleQueue[StagedShard | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="commit", daemon=True)
        self._thread.start()

    def add(self, staged: StagedShard) -> None:
        """Queue a staged shard."""
        self._staged.put(staged)

    def flush(self) -> None:
        """Commit what is queued and stop; a store gets some seconds to answer."""
        self._staged.put(None)
        self._thread.join(_FLUSH_SECONDS)

    def _work(self) -> None:
        while True:
            group = [self._staged.get()]
            while len(group) < _LARGEST_GROUP and not self._staged.empty():
                group.append(self._staged.get())
            shards = [staged for staged in group if staged is not None]
            try:
                if shards:
                    self._report(Committed(tuple(self._output.commit(shards))))
            except Exception as error:  # noqa: BLE001 (the edge of a thread: the driver raises it)
                self._report(CommitFailed(error))
                return
            if None in group:
                return
