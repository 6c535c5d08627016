"""A row that needs more memory than a scorer has is rejected; no other row is."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_runner.schedule.scorer_process import ScorerProcess
from testkit import in_process, onnx_models
from testkit.checked_runs import fail, succeed
from testkit.small_jobs import column_job, linear_job


@pytest.fixture(autouse=True)
def scorers_that_import_for_themselves(monkeypatch):
    """Their imports need memory, too."""
    monkeypatch.setattr(in_process, "spawn_scorer", ScorerProcess.spawn)


def test_a_row_that_exhausts_the_memory_is_rejected_and_its_neighbours_are_scored(tmp_path):
    sizes = [1, 2**50, *range(2, 40)]
    table = pa.table({"id": range(len(sizes)), "size": pa.array(sizes, pa.int64())})
    fields = {"sharding.targetRowsPerShard": 10, "backoffLimitPerShard": 0}
    job = column_job(tmp_path, onnx_models.allocate(tmp_path / "m.onnx"), table, fields)

    result = succeed(job)

    assert [(row, error) for _, row, _, error in result.rejected()] == [(1, "OutOfMemory")]
    assert result.column("result") == [2 * size for size in sizes if size < 2**50]


def test_a_row_is_not_rejected_for_memory_that_earlier_shards_have_left_behind(tmp_path):
    """ONNX Runtime keeps what the growing rows needed, in pieces of no use to the largest."""
    sizes = [8_000_000, 16_000_000, 30_000_000, 31_000_000, 110_000_000]
    table = pa.table({"id": range(len(sizes)), "size": pa.array(sizes, pa.int64())})
    limits = {"memory": "900Mi", "cpu": "1"}
    fields = {"workers.resources.limits": limits, "sharding.targetRowsPerShard": 1}
    job = column_job(tmp_path, onnx_models.allocate(tmp_path / "m.onnx"), table, fields)
    pq.write_table(table, tmp_path / "input" / "0.parquet", row_group_size=1)

    result = succeed(job)

    assert result.rejected() == []
    assert result.column("result") == [2 * size for size in sizes]


@pytest.mark.parametrize("limit", ["500Mi", "700Mi", "750Mi"])
def test_no_row_is_rejected_for_a_batch_that_is_too_large(tmp_path, limit):
    """4,000 rows at once want 3.2 GB, one of them 0.8 MB."""
    table = pa.table({"id": range(4000), "x": pa.array([0.0] * 4000, pa.float32())})
    fields = {"batching.batchSize": 4000, "workers.resources.limits": {"memory": limit, "cpu": "2"}}
    job = column_job(tmp_path, onnx_models.wide(tmp_path / "m.onnx"), table, fields)

    result = succeed(job)

    assert result.rejected() == []
    assert result.column("sum") == [100_000.0] * 4000


@pytest.mark.parametrize("limit", ["20Mi", "100Mi", "150Mi"])
def test_a_limit_that_is_too_small_to_start_a_scorer_is_named(tmp_path, capfd, limit):
    ended = fail(linear_job(tmp_path, {"workers.resources.limits.memory": limit}))

    assert ended.message.startswith("OutOfMemory: ")
    assert "raise spec.workers.resources.limits.memory" in ended.message
    assert "Traceback" not in capfd.readouterr().err


GREEDY = "len(range(CAST(if(id = {row}, 1e9, 1) AS BIGINT)))"
"""SQL that wants 16 GiB at once in one row."""


@pytest.mark.parametrize("row", [3, 13], ids=["that the model is tried on", "of another file"])
@pytest.mark.parametrize("stage", ["Filter", "Preprocess", "Postprocess"])
def test_a_row_whose_sql_exhausts_the_memory_is_rejected_at_its_stage(tmp_path, stage, row):
    greedy = GREEDY.format(row=row)
    column = [{"name": "n", "expression": greedy}]
    fields = {
        "Filter": {"input.filter": f"{greedy} > 0"},
        "Preprocess": {"preprocessing.columns": column},
        "Postprocess": {"postprocessing.columns": column},
    }
    limits = {"workers.resources.limits.memory": "2Gi", "backoffLimitPerShard": 0}
    result = succeed(linear_job(tmp_path, {**fields[stage], **limits}, files=2))

    assert result.rejected() == [(f"{row // 10}.parquet", 3, stage, "OutOfMemory")]
    assert result.column("id") == [number for number in range(20) if number != row]
