"""A model that mixes rows is refused wherever the first rows lie that can be scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from testkit import onnx_models
from testkit.checked_runs import fail, succeed
from testkit.jobs import Job
from testkit.small_jobs import job_over

ROWS = 20_000
VALUES = np.random.default_rng(2).normal(size=ROWS).astype(np.float32)


def rows(first: int, stop: int, *, alone: int | None = None) -> pa.Table:
    """Rows by number; where one is `alone`, the others have no value."""
    numbers = np.arange(first, stop)
    missing = None if alone is None else numbers != alone
    values = pa.array(VALUES[first:stop], pa.float32(), mask=missing)
    return pa.table({"id": numbers, "x": values})


FIRST, OTHERS = rows(0, 1), rows(1, ROWS)


def small_files(data: Path) -> Iterator[tuple[str, pa.Table]]:
    yield from ((str(data / name), table) for name, table in (("a", FIRST), ("b", OTHERS)))


def parquet_files(data: Path) -> None:
    for path, table in small_files(data):
        pq.write_table(table, path + ".parquet")


def csv_files(data: Path) -> None:
    for path, table in small_files(data):
        pv.write_csv(table, path + ".csv")


def row_groups(data: Path) -> None:
    with pq.ParquetWriter(data / "a.parquet", FIRST.schema) as writer:
        writer.write_table(FIRST)
        writer.write_table(OTHERS)


def record_batches(data: Path) -> None:
    with pa.ipc.new_file(data / "a.arrow", FIRST.schema) as writer:
        writer.write_table(FIRST)
        writer.write_table(OTHERS)


def one_file(data: Path) -> None:
    pq.write_table(rows(0, ROWS), data / "a.parquet")


def nulls_but_one(data: Path) -> None:
    half = ROWS // 2
    table = pa.concat_tables([rows(0, half, alone=5), rows(half, ROWS)])
    pq.write_table(table, data / "a.parquet")


def softmax_job(folder: Path, data_format: str, fields: dict | None = None) -> Job:
    model = onnx_models.softmax_over_rows(folder / "softmax.onnx")
    all_fields = {"model.storageUri": str(model), "model.inputs": ..., **(fields or {})}
    return job_over(folder, data_format, all_fields)


@pytest.mark.parametrize(
    ("write", "data_format", "fields"),
    [
        pytest.param(parquet_files, "Parquet", {}, id="a file of one row"),
        pytest.param(csv_files, "CSV", {}, id="a CSV file of one row"),
        pytest.param(row_groups, "Parquet", {}, id="a row group of one row"),
        pytest.param(record_batches, "Arrow", {}, id="a record batch of one row"),
        pytest.param(one_file, "Parquet", {"input.filter": "id = 0 OR id > 10000"}, id="a filter"),
        pytest.param(nulls_but_one, "Parquet", {}, id="nulls"),
        pytest.param(
            row_groups, "Parquet", {"batching.batchSize": 512}, id="with a batch size that is given"
        ),
    ],
)
def test_one_row_before_the_others_does_not_hide_it(tmp_path, write, data_format, fields):
    job = softmax_job(tmp_path, data_format, fields)
    write(tmp_path / "data")

    ended = fail(job)

    assert ended.message.startswith("ModelNotRowwise")
    assert not list(job.output.rglob("part-*")), "rows were scored before the model was tried"


def test_wide_rows_of_which_the_first_are_alike_do_not_hide_it(tmp_path):
    width = 20_000
    model = onnx_models.less_the_mean(tmp_path / "mean.onnx", width)
    job = job_over(tmp_path, "Parquet", {"model.storageUri": str(model), "model.inputs": ...})
    type_ = pa.list_(pa.float32(), width)
    schema = pa.schema([("id", pa.int64()), ("x", type_)])
    with pq.ParquetWriter(tmp_path / "data" / "a.parquet", schema) as writer:
        for values in (*[np.ones(400, np.float32)] * 3, np.arange(400, dtype=np.float32)):
            lists = pa.FixedSizeListArray.from_arrays(np.repeat(values, width), type=type_)
            writer.write_table(pa.table({"id": range(400), "x": lists}, schema=schema))

    ended = fail(job)

    assert ended.message.startswith("ModelNotRowwise")
    parts = [pq.read_table(path) for path in job.output.rglob("part-*.parquet")]
    assert all(score == 0 for part in parts for score in part["score"].to_pylist())


@pytest.mark.parametrize("count", [0, 1])
def test_where_there_are_no_two_rows_nothing_can_be_mixed(tmp_path, count):
    job = softmax_job(tmp_path, "Parquet")
    pq.write_table(rows(0, count), tmp_path / "data" / "a.parquet")

    assert succeed(job).column("score") == [1.0] * count
