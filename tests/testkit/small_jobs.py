"""Jobs of a few rows whose scores can be told by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from testkit import onnx_models
from testkit.jobs import Job, spec_of


def small_table(rows: int = 10, *, first: int = 0) -> pa.Table:
    """Columns id, a, b, c: all of them the number of the row, so that score_of tells the score."""
    numbers = list(range(first, first + rows))
    values = pa.array(numbers, pa.float32())
    return pa.table({"id": pa.array(numbers, pa.int64()), "a": values, "b": values, "c": values})


def score_of(row: int) -> float:
    """What the linear model answers for a row of `small_table`: a + 2b + 3c + 0.5."""
    return 6.0 * row + 0.5


def linear_job(folder: Path, fields: dict[str, Any] | None = None, *, files: int = 1) -> Job:
    """A job over `files` Parquet files of 10 rows, with `fields` of its spec set."""
    data = folder / "input"
    data.mkdir()
    for number in range(files):
        pq.write_table(small_table(first=10 * number), data / f"{number}.parquet")
    model = onnx_models.linear(folder / "model.onnx")
    job = Job(folder, spec_of(model, data, columns=["a", "b", "c"], model_input="input"))
    return set_fields(job, fields)


def column_job(folder: Path, model: Path, table: pa.Table, fields: dict | None = None) -> Job:
    """A job over one Parquet file whose columns are the inputs of the model."""
    data = folder / "input"
    data.mkdir()
    pq.write_table(table, data / "0.parquet")
    job = Job(folder, spec_of(model, data, columns=[], model_input=""))
    del job.spec["model"]["inputs"]
    return set_fields(job, fields)


def set_fields(job: Job, fields: dict[str, Any] | None) -> Job:
    """Set fields of the spec by their dotted paths; `...` removes one."""
    for path, value in (fields or {}).items():
        *parents, last = path.split(".")
        node = job.spec
        for part in parents:
            node = node.setdefault(part, {})
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return job


def job_over(folder: Path, data_format: str, fields: dict | None = None) -> Job:
    """The linear job over the still empty folder `data`."""
    (folder / "data").mkdir()
    job = linear_job(folder, {"input.format": data_format, "input.storageUris": ["data/"]})
    return set_fields(job, fields)


def expected(*rows: int) -> dict[int, float]:
    return {row: score_of(row) for row in rows}
