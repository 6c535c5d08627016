"""On which rows of a dataset a model is tried, and how much of it is read for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ModelInputBinding
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.plan.plan import FileInventory, Shard, Unit
from batch_inference_runner.rows import Chunk, Positions
from batch_inference_runner.score import first_rows
from testkit import onnx_models
from testkit.scorers import make_scorer

SCHEMA = pa.schema([("x", pa.float32())])
AMPLE_SECONDS = 60.0


class Reader:
    """Files of one chunk each, and which of them were read."""

    def __init__(self, *files: np.ndarray | list) -> None:
        self.tables = [pa.table({"x": pa.array(rows, pa.float32())}) for rows in files]
        self.inventories = [FileInventory((Unit(0, 1, 1, len(rows)),)) for rows in files]
        self.read: list[int] = []

    def chunks(self, shard: Shard, *, frugal: bool) -> Iterator[Chunk]:
        file = shard.pieces[0].file
        assert frugal is bool(self.read), "a later file that is too large would refuse the job"
        self.read.append(file)
        yield Chunk(file, self.tables[file], Positions())


def probe(
    folder: Path,
    reader: Reader,
    *,
    build=onnx_models.softmax_over_rows,
    seconds: float = AMPLE_SECONDS,
    batch_size: int | None = None,
):
    """Try a model on rows that are not negative: a filter takes the others away."""
    scorer = make_scorer(build(folder / "m.onnx"), SCHEMA, batch_size=batch_size)
    return try_model(scorer, reader, seconds=seconds)


def try_model(scorer, reader: Reader, *, seconds: float = AMPLE_SECONDS):
    stages = SimpleNamespace(model=scorer, prepared=lambda table: table.filter(pc.field("x") >= 0))
    return first_rows.probe_on_real_rows(stages, reader, reader.inventories, seconds=seconds)


def harmless(path: Path) -> Path:
    return onnx_models.identity(path, 1)


def test_a_first_chunk_with_enough_rows_is_all_that_is_read(tmp_path):
    reader = Reader(np.arange(64), np.arange(64))

    first = probe(tmp_path, reader, build=harmless)

    assert first.table is reader.tables[0]
    assert reader.read == [0]


def test_nothing_more_is_read_for_a_model_that_scores_one_row_at_a_time(tmp_path):
    reader = Reader([1], [2])

    assert probe(tmp_path, reader, batch_size=1).table is reader.tables[0]
    assert reader.read == [0]


@pytest.mark.parametrize(
    ("files", "read"),
    [
        pytest.param([[n] for n in range(100)], 64, id="files of one row"),
        pytest.param([[1, *[-1] * 9000], [2], *[[-1]] * 9, range(62), [3]], 12, id="a filter"),
        pytest.param([[1, *[None] * 9000], [None] * 99, range(63), [3]], 3, id="nulls"),
        pytest.param([[7] * 100, [7] * 100, [7, 8], [9]], 3, id="rows that are alike"),
        pytest.param([[7] * 5000, [7] * 5000, [8] * 100], 2, id="as many alike as are tried"),
        pytest.param([[1], [], [2]], 2, id="the end of the dataset"),
    ],
)
def test_chunks_are_read_until_their_rows_can_tell(tmp_path, files, read):
    reader = Reader(*files)

    first = probe(tmp_path, reader, build=harmless)

    assert first.table is reader.tables[0]
    assert len(reader.read) == read


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([[1], [2]], id="two rows in all"),
        pytest.param([[-1] * 100, [1, *[None] * 9000], [2]], id="first rows that are lost"),
        pytest.param([[*[-1] * 20_000, 1, *[-1] * 20_000, 2]], id="rows far apart in one chunk"),
    ],
)
def test_a_model_that_mixes_rows_is_refused_by_rows_of_several_chunks(tmp_path, files):
    with pytest.raises(JobFailed, match="changes when it is scored with"):
        probe(tmp_path, Reader(*files))


@pytest.mark.parametrize("lost", [-1, None], ids=["a filter", "nulls"])
def test_first_rows_of_several_columns_may_all_be_lost(tmp_path, lost):
    """A scorer that failed on them was started anew, and tried its model on no row."""
    inputs = (ModelInputBinding(name="x", columns=("x", "x", "x")),)
    model = onnx_models.linear(tmp_path / "m.onnx", name="x")
    scorer = make_scorer(model, SCHEMA, inputs=inputs)
    reader = Reader([lost] * 9000, range(64), [1])

    assert try_model(scorer, reader).table is reader.tables[0]
    assert reader.read == [0, 1]


def test_one_row_in_all_tells_nothing(tmp_path):
    assert probe(tmp_path, Reader([-1], [1])) is not None
    assert probe(tmp_path, Reader()) is None


@pytest.mark.parametrize("limit", ["seconds", "bytes"])
def test_what_is_read_is_bounded_and_what_was_read_is_tried(tmp_path, monkeypatch, limit):
    ticks = iter(range(100))
    monkeypatch.setattr(first_rows.time, "monotonic", lambda: next(ticks))
    if limit == "bytes":
        monkeypatch.setattr(first_rows, "_MOST_BYTES", 10)
    reader = Reader(*[[n] for n in range(50)])

    with pytest.raises(JobFailed, match="changes when it is scored with"):
        probe(tmp_path, reader, seconds=2.0 if limit == "seconds" else 99.0)

    assert len(reader.read) == 3


def test_a_single_row_does_not_vouch_for_those_that_come_together(tmp_path):
    path = onnx_models.softmax_over_rows(tmp_path / "m.onnx")
    table = pa.table({"x": pa.array([1.0, 2.0, 3.0], pa.float32())})
    scorer = make_scorer(path, table.schema, batch_size=100)
    scorer.score(table.slice(0, 1))
    with pytest.raises(JobFailed) as refusal:
        scorer.score(table)
    assert refusal.value.reason is Reason.MODEL_NOT_ROWWISE
