"""The threads of a scorer, where memory runs out."""

from __future__ import annotations

import queue
import threading
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest

from batch_inference_runner.errors import ProcessBroken, Unavailable
from batch_inference_runner.plan.plan import Piece, Shard
from batch_inference_runner.rows import Chunk, Positions
from batch_inference_runner.score import work_pool
from batch_inference_runner.score.computing import ComputingThreads
from batch_inference_runner.score.messages import (
    Assignment,
    FailureKind,
    ShardFailed,
    Staged,
    Started,
)
from batch_inference_runner.score.shard_task import Slice
from batch_inference_runner.score.stages import SliceResult, Stages
from batch_inference_runner.score.work_pool import WorkPool

SECONDS = 30
ENDED = "the process"
NEVER = threading.Event()


class CrowdedStages(Stages):
    """Has memory for one row at a time, and only in isolation."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(batch_size=1)

    def _run(self, flow, in_isolation, *, frugal):
        assert not frugal
        table = flow.table
        with in_isolation():
            if table.num_rows > 1:
                raise MemoryError
        return SliceResult(table, (), 0)


class FullStages(Stages):
    """Has no memory for rows whose `x` is 13."""

    output_schema = pa.schema({"x": pa.int64()})

    def __init__(self) -> None:
        self.model = SimpleNamespace(batch_size=1)

    def _run(self, flow, _in_isolation, *, frugal):
        del frugal
        table = flow.table
        if 13 in table.column("x").to_pylist():
            raise pa.ArrowMemoryError("malloc of size 64 failed")
        return SliceResult(table, (), 0)


class LosingStages(Stages):
    """Loses what it needs, in the way that it is told."""

    def __init__(self, error: Exception) -> None:
        self.model = SimpleNamespace(batch_size=1)
        self._error = error

    def _run(self, _flow, _in_isolation, *, frugal):
        del frugal
        raise self._error


class OneSlice:
    """A shard of one slice, which keeps what became of it."""

    has_slices = False
    rows_scored = 0

    def __init__(self, assignment: Assignment, table: pa.Table) -> None:
        self.assignment = assignment
        self.shard = assignment.shard.number
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


def score(stages: Stages, assignment: Assignment, table: pa.Table) -> tuple[OneSlice, list]:
    """Let a pool of one thread score a shard; return what became of it and what was said."""
    task, messages, said = OneSlice(assignment, table), queue.Queue(), []
    pool = WorkPool(
        stages,
        lambda *_: task,
        messages.put,
        threads=1,
        batch_timeout_seconds=SECONDS,
        computing=ComputingThreads(SECONDS),
        end_process=lambda: messages.put(ENDED),
    )
    pool.add([assignment])
    while not (said and (said[-1] == ENDED or isinstance(said[-1], Staged | ShardFailed))):
        said.append(messages.get(timeout=SECONDS))
    return task, said


def assigned(**how) -> Assignment:
    return Assignment(Shard(7, (Piece(0, 0, 4, 0, 4),)), "a1", **how)


def test_rows_in_isolation_are_halved_until_memory_suffices():
    table = pa.table({"x": range(4)})

    task, said = score(CrowdedStages(), assigned(isolated=True), table)

    assert isinstance(said[-1], Staged), said
    assert task.results[0].output.equals(table)


def test_rows_are_not_rejected_for_want_of_memory_that_others_use_too():
    task, said = score(FullStages(), assigned(), pa.table({"x": [1, 13, 3]}))

    assert task.results == []
    assert (said[-1].shard, said[-1].kind) == (7, FailureKind.MEMORY)
    assert "malloc of size 64 failed" in said[-1].message


def test_a_row_for_which_all_of_the_memory_does_not_suffice_is_rejected_alone():
    task, said = score(FullStages(), assigned(frugal=True), pa.table({"x": [1, 13, 3]}))

    assert isinstance(said[-1], Staged), said
    (result,) = task.results
    (error,) = result.errors
    assert (error.error, error.indices.tolist()) == ("OutOfMemory", [1])
    assert result.output.column("x").to_pylist() == [1, 3]


class SlowToRead(OneSlice):
    """A shard whose reading does something until it is told to stop."""

    def __init__(self, does) -> None:
        super().__init__(assigned(), pa.table({"x": [1]}))
        self._does = does
        self.over = False

    def take(self):
        while not self.over:
            self._does()
        return


def stalled_while(does, *, seconds) -> bool:
    """Whether a pool calls a shard stalled while its reading does something for so long."""
    task = SlowToRead(does)
    pool = WorkPool(
        CrowdedStages(),
        lambda *_: task,
        lambda _message: None,
        threads=1,
        batch_timeout_seconds=SECONDS,
        computing=ComputingThreads(0.2),
        end_process=pytest.fail,
    )
    pool.add([task.assignment])
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if pool.beat(time.monotonic()).stalled == (7,):
                return True
            NEVER.wait(0.05)
        return False
    finally:
        task.over = True


def test_a_decoder_that_loops_is_stalled():
    assert stalled_while(lambda: sum(range(1000)), seconds=SECONDS)


def test_who_waits_for_a_store_is_not_stalled():
    assert not stalled_while(lambda: NEVER.wait(0.01), seconds=1)


def test_a_lost_isolator_is_told_as_a_loss_and_not_as_the_shards_failure():
    lost = Unavailable("the process that isolates failing rows was lost")

    _, said = score(LosingStages(lost), assigned(isolated=True), pa.table({"x": [1]}))

    assert said[-1].kind is FailureKind.LOST


def test_a_process_that_cannot_go_on_ends_without_blaming_a_shard():
    _, said = score(LosingStages(ProcessBroken("it broke")), assigned(), pa.table({"x": [1]}))

    assert [type(message) for message in said[:-1]] == [Started]
    assert said[-1] == ENDED


def test_a_failure_is_sent_before_it_is_written_down(monkeypatch):
    """Memory may be too short for a log; nobody else would tell the driver."""

    def fail(_error):
        raise MemoryError

    monkeypatch.setattr(work_pool, "_log", fail)
    _, said = score(LosingStages(LookupError("a defect")), assigned(), pa.table({"x": [1]}))

    assert (said[-1].kind, said[-1].message) == (FailureKind.SHARD, "LookupError: a defect")
