"""Rows that crash, hang or exhaust native code are rejected, all of them and only them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_inference_runner.errors import JobFailed, Unavailable
from testkit import onnx_models
from testkit.scorers import make_scorer, rejected

SMALLEST = -(2**63)


def table_of(**columns) -> pa.Table:
    return pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})


@pytest.fixture
def scorers():
    made = []
    yield made.append
    for scorer in made:
        scorer.close()


def test_rows_that_crash_are_rejected_and_their_neighbours_are_scored(tmp_path, scorers):
    rows, poison = 5000, [0, 1, 700, 1023, 1024, 4999]
    a, b = np.arange(rows), np.full(rows, 7)
    a[poison], b[poison] = SMALLEST, -1
    table = table_of(a=a, b=b)
    scorer = make_scorer(onnx_models.divide(tmp_path / "m.onnx"), table.schema, batch_size=512)
    scorers(scorer)

    result = scorer.score_isolated(table)

    assert rejected(result) == dict.fromkeys(poison, "Crashed")
    assert "SIGFPE" in result.errors[0].message
    good = np.setdiff1d(np.arange(rows), poison)
    assert result.kept.tolist() == good.tolist()
    assert result.table.column("a").to_pylist() == a[good].tolist()
    assert result.table.column("quotient").to_pylist() == (a[good] // 7).tolist()


def test_a_table_without_poison_scores_the_same_in_isolation(tmp_path, scorers):
    path = onnx_models.mlp(tmp_path / "m.onnx", width=4)
    values = np.random.default_rng(1).normal(size=(3000, 4)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 4)
    table = pa.table({"input": column})
    scorer = make_scorer(path, table.schema, batch_size=256)
    scorers(scorer)

    isolated, plain = scorer.score_isolated(table), scorer.score(table)

    assert isolated.errors == plain.errors == ()
    assert isolated.kept is None
    assert isolated.table.equals(plain.table)


def test_rows_that_hang_are_killed_and_rejected(tmp_path, scorers):
    counts = [1, 2, 2**60, 3, 2**61]
    table = table_of(count=counts)
    scorer = make_scorer(
        onnx_models.loop(tmp_path / "m.onnx"), table.schema, batch_size=4, batch_timeout_seconds=1
    )
    scorers(scorer)

    result = scorer.score_isolated(table)

    assert rejected(result) == {2: "TimedOut", 4: "TimedOut"}
    assert "within 1 s" in result.errors[0].message
    assert result.table.column("result").to_pylist() == [2, 4, 6]


def test_rows_that_exhaust_the_memory_are_rejected(tmp_path, scorers):
    sizes = [10, 2**40, 20, 2**33, 30]
    table = table_of(size=sizes)
    scorer = make_scorer(
        onnx_models.allocate(tmp_path / "m.onnx"),
        table.schema,
        batch_size=4,
        isolated_memory_bytes=512 * 1024**2,
    )
    scorers(scorer)

    result = scorer.score_isolated(table)

    assert rejected(result) == {1: "OutOfMemory", 3: "OutOfMemory"}
    assert result.table.column("result").to_pylist() == [20, 40, 60]


def test_want_of_memory_beside_others_rejects_no_row_and_with_all_of_it_only_the_largest(
    tmp_path, scorers
):
    table = table_of(size=[10, 2**50, 20])  # beyond any address space
    scorer = make_scorer(onnx_models.allocate(tmp_path / "m.onnx"), table.schema, batch_size=4)
    scorers(scorer)

    with pytest.raises(MemoryError):
        scorer.score(table)

    result = scorer.score(table, frugal=True)
    assert rejected(result) == {1: "OutOfMemory"}
    assert result.table.column("result").to_pylist() == [20, 40]


def test_rows_that_are_null_or_raise_are_rejected_beside_those_that_crash(tmp_path, scorers):
    table = table_of(a=[10, None, SMALLEST, 40], b=[2, 2, -1, 4])
    scorer = make_scorer(onnx_models.divide(tmp_path / "m.onnx"), table.schema)
    scorers(scorer)

    result = scorer.score_isolated(table)

    assert rejected(result) == {1: "NullInput", 2: "Crashed"}
    assert result.table.column("quotient").to_pylist() == [5, 10]
    assert result.kept.tolist() == [0, 3]


def test_strings_and_maps_survive_the_way_through_the_isolator(tmp_path, scorers):
    elements = {"word": onnx_models.TensorProto.STRING, "flag": onnx_models.TensorProto.BOOL}
    path = onnx_models.one_input_a_column(tmp_path / "m.onnx", elements)
    words = ["a\0b", "", "äöü 你好", "None"]
    table = pa.table({"word": words, "flag": [True, False, True, False]})
    scorer = make_scorer(path, table.schema, batch_size=3)
    scorers(scorer)

    assert scorer.score_isolated(table).table.column("word_out").to_pylist() == words

    labels = onnx_models.zipmap(tmp_path / "z.onnx", labels=(3, 5))
    numbers = pa.table({"x": pa.array([[0.5, 1.0], [2.0, 2.0]], pa.list_(pa.float32(), 2))})
    mapped = make_scorer(labels, numbers.schema)
    scorers(mapped)
    assert mapped.score_isolated(numbers).table.equals(mapped.score(numbers).table)


def test_a_model_that_depends_on_the_batch_is_refused_in_isolation_too(tmp_path, scorers):
    table = pa.table({"x": pa.array([1.0, 2.0, 3.0], pa.float32())})
    scorer = make_scorer(onnx_models.softmax_over_rows(tmp_path / "m.onnx"), table.schema)
    scorers(scorer)

    with pytest.raises(JobFailed, match="batchSize: 1"):
        scorer.score_isolated(table)


def test_a_lost_isolator_is_no_rows_fault_and_the_next_call_starts_another(tmp_path, scorers):
    table = table_of(a=[10, 20], b=[2, 2])
    scorer = make_scorer(onnx_models.divide(tmp_path / "m.onnx"), table.schema)
    scorers(scorer)
    scorer.score_isolated(table)
    os.kill(scorer._isolator._process.pid, signal.SIGKILL)
    scorer._isolator._process.wait()

    with pytest.raises(Unavailable):
        scorer.score_isolated(table)

    assert scorer.score_isolated(table).table.column("quotient").to_pylist() == [5, 10]


def test_isolator_and_worker_end_with_the_scorer(tmp_path, scorers):
    table = table_of(count=[2**60])
    scorer = make_scorer(
        onnx_models.loop(tmp_path / "m.onnx"), table.schema, batch_timeout_seconds=600
    )
    scorers(scorer)
    scorer.score_isolated(table_of(count=[1, 2, 3]))
    child = scorer._isolator._process
    # A request whose answer nobody waits for: the worker hangs in it.
    scorer._isolator._connection.setblocking(True)
    from batch_inference_runner.models.isolator_wire import send

    send(
        scorer._isolator._connection,
        {"rows": 1, "batch": 1, "call_seconds": 600.0},
        {"count": np.array([2**60])},
    )
    worker = _wait_for_child_of(child.pid)

    scorer._isolator._connection.close()

    child.wait(timeout=10)
    _wait_until_gone(worker)


def test_many_poison_rows_are_found_all_of_them_and_only_them(tmp_path, scorers):
    rows = 40_000
    poison = np.random.default_rng(3).choice(rows, size=40, replace=False)
    a, b = np.arange(rows), np.full(rows, 3)
    a[poison], b[poison] = SMALLEST, -1
    table = table_of(a=a, b=b)
    scorer = make_scorer(onnx_models.divide(tmp_path / "m.onnx"), table.schema, batch_size=1024)
    scorers(scorer)

    assert set(rejected(scorer.score_isolated(table))) == set(poison.tolist())


def _wait_for_child_of(pid: int) -> int:
    deadline = time.monotonic() + 10
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := children.read_text().split()):
        assert time.monotonic() < deadline, "the warden forked no worker"
        time.sleep(0.01)
    return int(found[0])


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the worker outlived its scorer"
        time.sleep(0.01)
