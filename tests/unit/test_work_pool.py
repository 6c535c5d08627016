"""The threads of a scorer, where memory runs out."""

from __future__ import annotations

import queue
from types import SimpleNamespace

import pyarrow as pa

from batch_inference_runner.plan.plan import Piece, Shard
from batch_inference_runner.rows import Chunk, Positions
from batch_inference_runner.score.messages import Assignment, Staged
from batch_inference_runner.score.shard_task import Slice
from batch_inference_runner.score.stages import SliceResult, Stages
from batch_inference_runner.score.work_pool import WorkPool

SECONDS = 30


class CrowdedStages(Stages):
    """Has memory for one row at a time, and only in isolation."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(batch_size=1)

    def _run(self, table, in_isolation):
        with in_isolation():
            if table.num_rows > 1:
                raise MemoryError
        return SliceResult(table, (), 0)


class OneSlice:
    """A shard of one slice, which keeps what became of it."""

    has_slices = False
    rows_scored = 0

    def __init__(self, assignment: Assignment, table: pa.Table) -> None:
        self.assignment = assignment
        self.shard = assignment.shard.index
        self.results: list[SliceResult] = []
        self._slices = [Slice(0, Chunk(0, table, Positions(first=0)))]

    def take(self):
        return self._slices.pop() if self._slices else None

    def give(self, _part, result):
        self.results.append(result)

    def finish(self):
        return SimpleNamespace(to_json=dict)

    def abort(self):
        pass


def test_rows_in_isolation_are_halved_until_memory_suffices():
    table = pa.table({"x": range(4)})
    assignment = Assignment(Shard(7, (Piece(0, 0, 4, 0, 4),)), "a1", isolated=True)
    task = OneSlice(assignment, table)
    messages = queue.Queue()
    pool = WorkPool(
        CrowdedStages(),
        lambda *_: task,
        messages.put,
        threads=1,
        batch_timeout_seconds=SECONDS,
    )

    pool.add([assignment])

    _started, _first_row, last = (messages.get(timeout=SECONDS) for _ in range(3))
    assert isinstance(last, Staged), last
    assert task.results[0].output.equals(table)
