"""Threads that share one model session and work off the assignments of a scorer.

A thread that looks for work starts the next assigned shard; only if there is none does it help with
a shard that another thread has begun. So that shards are read side by side as long as there are
enough of them, and the last ones are scored by everybody.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed, ProcessBroken, Unavailable
from batch_inference_runner.rows import CHUNK_ROWS
from batch_inference_runner.score.messages import (
    Assignment,
    Beat,
    FailureKind,
    FirstRow,
    ShardFailed,
    Staged,
    Started,
)
from batch_inference_runner.storage.advice import advised, reason_of
from batch_inference_runner.storage.store import (
    Misconfigured,
    NotFound,
    StoreError,
    VersionChanged,
    VolumeFull,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batch_inference_runner.score.computing import ComputingThreads
    from batch_inference_runner.score.messages import Message
    from batch_inference_runner.score.shard_task import ShardTask, Slice
    from batch_inference_runner.score.stages import SliceResult, Stages

_SLICE_SECONDS = 0.5
"""How long a thread should work on a slice: short enough to share the last shard, and to be seen
to hang; long enough that handing out slices costs nothing."""
_FIRST_BATCHES = 4
"""Size of the first slice, before the speed is known."""


class WorkPool:
    """The threads of a scorer. `send` may be called from any of them.

    `computing` watches them, and whoever reads ahead for them.
    `end_process` is called when nothing that is in work can be finished in this process, nor
    anything else be begun: what is in work is then lost with it, as in a crash.
    """

    def __init__(
        self,
        stages: Stages,
        open_task: Callable[[Assignment, Callable[[], int]], ShardTask],
        send: Callable[[Message], None],
        *,
        threads: int,
        batch_timeout_seconds: float,
        computing: ComputingThreads,
        end_process: Callable[[], object],
    ) -> None:
        self._stages = stages
        self._open_task = open_task
        self._send = send
        self._batch_timeout_seconds = batch_timeout_seconds
        self._end_process = end_process
        self._waiting: deque[Assignment] = deque()
        self._active: dict[int, ShardTask] = {}
        self._in_work: dict[int, tuple[int, float]] = {}
        self._computing = computing
        self._seconds_per_row = 0.0
        self._first_row_sent = False
        self._changed = threading.Condition()
        for number in range(threads):
            threading.Thread(target=self._work, name=f"score-{number}", daemon=True).start()

    def add(self, assignments: Sequence[Assignment]) -> None:
        """Put shards at the end of the queue."""
        with self._changed:
            self._waiting.extend(assignments)
            self._changed.notify_all()

    def withdraw(self, count: int) -> tuple[int, ...]:
        """Take up to `count` shards that were not started from the end of the queue."""
        with self._changed:
            taken = min(count, len(self._waiting))
            return tuple(self._waiting.pop().shard.number for _ in range(taken))

    def beat(self, now: float) -> Beat:
        """Say how far the active shards are, and which have been in one step for too long."""
        with self._changed:
            rows = {shard: task.rows_scored for shard, task in self._active.items()}
            stalled = {
                shard
                for shard, began in tuple(self._in_work.values())  # other threads change it
                if now - began > self._batch_timeout_seconds
            }
        stalled |= self._computing.overdue()
        return Beat(rows, tuple(sorted(stalled)), time.process_time())

    def _work(self) -> None:
        while True:
            work = self._next_work()
            task = self._begin(work) if isinstance(work, Assignment) else work
            if task is None:
                continue
            try:
                self._advance(task)
            except ProcessBroken as error:
                try:
                    _log(error)
                finally:
                    self._end_process()
                return
            except Exception as error:  # noqa: BLE001 (the edge of a thread: every failure is sent)
                try:
                    self._fail(task, error)
                except Exception:  # noqa: BLE001 (memory is short: nothing else would tell of it)
                    self._end_process()
                    return

    def _next_work(self) -> Assignment | ShardTask:
        """Wait for a shard to begin or, if there is none, for one to help with."""
        with self._changed:
            while True:
                if self._waiting:
                    return self._waiting.popleft()
                for task in self._active.values():
                    if task.has_slices:
                        return task
                self._changed.wait()

    def _begin(self, assignment: Assignment) -> ShardTask | None:
        """Open a shard; None if that failed, which is then reported."""
        self._send(Started(assignment.shard.number))
        try:
            task = self._open_task(assignment, self._slice_rows)
        except Exception as error:  # noqa: BLE001 (as in _work)
            self._report(assignment, error)
            return None
        with self._changed:
            self._active[task.shard] = task
            self._changed.notify_all()  # others may help
        return task

    def _advance(self, task: ShardTask) -> None:
        """Work on a shard until there is nothing more to take; whoever is last hands it in."""
        while (part := self._take(task)) is not None:
            result = self._run(task, part)
            with self._computing.watched(task.shard):
                task.give(part, result)
            with self._changed:
                self._changed.notify_all()
        with self._computing.watched(task.shard):
            staged = task.finish()
        if staged is not None:
            with self._changed:
                del self._active[task.shard]
            self._send(Staged(staged.to_json()))

    def _take(self, task: ShardTask) -> Slice | None:
        with self._computing.watched(task.shard):
            return task.take()

    def _run(self, task: ShardTask, part: Slice) -> SliceResult:
        began, thread = time.monotonic(), threading.get_ident()
        self._in_work[thread] = (task.shard, began)
        try:
            result = self._stages.run(
                part.chunk.table,
                isolated=task.assignment.isolated,
                frugal=task.assignment.frugal,
                in_isolation=self._unwatched,
            )
        finally:
            self._in_work.pop(thread, None)
        self._measure(part.chunk.table.num_rows, time.monotonic() - began)
        return result

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        """Let this thread take as long as it needs; what comes before and behind stays watched."""
        thread = threading.get_ident()
        shard, _ = self._in_work.pop(thread)
        try:
            yield
        finally:
            self._in_work[thread] = (shard, time.monotonic())

    def _measure(self, rows: int, seconds: float) -> None:
        if rows == 0:
            return
        if not self._first_row_sent:
            self._first_row_sent = True
            self._send(FirstRow(time.monotonic()))
        latest = seconds / rows
        self._seconds_per_row = (self._seconds_per_row or latest) / 2 + latest / 2

    def _slice_rows(self) -> int:
        batch = self._stages.model.batch_size
        if self._seconds_per_row == 0:
            return min(_FIRST_BATCHES * batch, CHUNK_ROWS)
        wanted = int(_SLICE_SECONDS / self._seconds_per_row)
        return max(batch, min(wanted, CHUNK_ROWS) // batch * batch)

    def _fail(self, task: ShardTask, error: Exception) -> None:
        with self._changed:
            if self._active.pop(task.shard, None) is None:
                return  # another thread has reported this attempt
        self._report(task.assignment, error)
        task.abort()

    def _report(self, assignment: Assignment, error: Exception) -> None:
        kind, reason, message = _explain(error)
        shard, attempt = assignment.shard.number, assignment.attempt
        self._send(ShardFailed(shard, attempt, kind, reason, message))
        if kind is FailureKind.SHARD:
            _log(error)


def _explain(error: Exception) -> tuple[FailureKind, str | None, str]:
    """Tell what failed: the job, a store, or something about the shard."""
    message = str(error) or type(error).__name__
    match error:
        case JobFailed():
            return FailureKind.JOB, error.reason, error.message
        case VersionChanged() | NotFound():
            advice = "it is not what was planned; restore it, or start anew with another output"
            return FailureKind.JOB, Reason.INPUT_CHANGED, f"{message}: {advice}"
        case VolumeFull() | Misconfigured():
            return FailureKind.JOB, reason_of(error), advised(error)
        case StoreError():
            return FailureKind.STORE, reason_of(error), advised(error)
        case Unavailable():
            return FailureKind.LOST, None, message
        case MemoryError():
            return FailureKind.MEMORY, None, f"memory ran out while it was scored: {message}"
        case _:
            return FailureKind.SHARD, None, f"{type(error).__name__}: {message}"


def _log(error: Exception) -> None:
    import logging

    from batch_inference_runner import logs

    logs.configure(json_lines=not sys.stderr.isatty())  # which redacts secrets
    logging.getLogger(__name__).error("shard failed", exc_info=error)
