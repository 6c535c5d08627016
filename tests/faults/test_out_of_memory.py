"""A row that needs more memory than a scorer has is rejected; no other row is."""

from __future__ import annotations

import pyarrow as pa

from testkit import onnx_models
from testkit.checked_runs import succeed
from testkit.small_jobs import column_job


def test_a_row_that_exhausts_the_memory_is_rejected_and_its_neighbours_are_scored(tmp_path):
    sizes = [1, 2**50, *range(2, 40)]
    table = pa.table({"id": range(len(sizes)), "size": pa.array(sizes, pa.int64())})
    fields = {"sharding.targetRowsPerShard": 10, "backoffLimitPerShard": 0}
    job = column_job(tmp_path, onnx_models.allocate(tmp_path / "m.onnx"), table, fields)

    result = succeed(job)

    assert [(row, error) for _, row, _, error in result.rejected()] == [(1, "OutOfMemory")]
    assert result.column("result") == [2 * size for size in sizes if size < 2**50]
