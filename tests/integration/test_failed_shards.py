"""A shard that ends its scorer every time is given up: all of its rows are rejected, no others."""

from __future__ import annotations

import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_runner.schedule.attempts import AttemptLog, EarlierAttempts
from batch_inference_runner.storage.folder import Folder
from testkit import onnx_models
from testkit.checked_runs import fail, succeed
from testkit.deadlines import wait_for
from testkit.exactness import attempts_of
from testkit.jobs import Job
from testkit.small_jobs import linear_job, score_of, set_fields, small_table

HANGS = "levenshtein(repeat('a', id), repeat('b', id))"
"""Takes hours for an id of a million, and the engine cannot be asked to stop."""


def hanging_job(folder: Path, fields: dict | None = None) -> Job:
    """Three shards of ten rows; one row of the second hangs outside of the model."""
    job = linear_job(
        folder,
        {
            "sharding.targetRowsPerShard": 10,
            "execution.batchTimeoutSeconds": 1,
            "preprocessing.columns": [{"name": "far", "expression": HANGS}],
            "postprocessing.columns": [{"name": "x", "expression": "far + score"}],
            "backoffLimitPerShard": 1,
        },
        files=3,
    )
    ids = pa.array([*range(10, 15), 1_000_000, *range(16, 20)])
    table = small_table(first=10).set_column(0, "id", ids)
    pq.write_table(table, folder / "input" / "1.parquet")
    return set_fields(job, fields)


def test_a_shard_that_was_given_up_has_all_of_its_rows_in_the_rejects(tmp_path):
    result = succeed(hanging_job(tmp_path, {"maxFailedShards": 1}))

    assert result.by("id") == {row: score_of(row) for row in (*range(10), *range(20, 30))}
    assert result.rejected() == [("1.parquet", row, "Read", "ShardFailed") for row in range(10)]
    assert {record["message"] for record in result.rejects} == {
        "shard 1 was given up: the scorer was lost while it worked on the shard"
    }
    assert list(result.manifest["run"]["failedShards"]) == ["1"]


def test_more_failed_shards_than_allowed_fail_the_job_and_a_rerun_may_allow_them(tmp_path):
    job = hanging_job(tmp_path, {"backoffLimitPerShard": 0})
    message = fail(job).message
    assert message.startswith("MaxFailedShardsExceeded")
    assert "spec.maxFailedShards allows 0" in message

    result = succeed(set_fields(job, {"maxFailedShards": 1}))

    assert result.counts == {"read": 30, "written": 20, "rejected": 10, "filtered": 0}


def test_text_whose_rows_nobody_counted_is_rejected_as_one_range(tmp_path):
    job = hanging_job(tmp_path, {"maxFailedShards": 1, "backoffLimitPerShard": 0})
    job.spec["sharding"] = {"targetBytesPerShard": "200"}
    folder = tmp_path / "text"
    folder.mkdir()
    for number, first in enumerate((100, 1_000_000, 200)):
        lines = (f"{first + i},{i},{i},{i}\n" for i in range(10))
        (folder / f"{number}.csv").write_text("id,a,b,c\n" + "".join(lines))
    set_fields(job, {"input.format": "CSV", "input.storageUris": ["text/"]})

    result = succeed(job)

    assert sorted(result.column("id")) == [*range(100, 110), *range(200, 210)]
    assert result.rejected() == [("1.csv", 0, "Read", "ShardFailed")]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [({"onError": "Fail"}, "RowRejected"), ({"errorThreshold": 9}, "ErrorThresholdExceeded")],
)
def test_rows_of_failed_shards_count_for_the_error_policy(tmp_path, policy, reason):
    fields = {"maxFailedShards": 1, "backoffLimitPerShard": 0, "errorPolicy": policy}
    assert fail(hanging_job(tmp_path, fields)).message.startswith(reason)


def test_a_shard_is_not_to_blame_for_a_driver_that_was_asked_to_stop(tmp_path):
    job = linear_job(tmp_path)
    onnx_models.slow_linear(tmp_path / "model.onnx")
    pq.write_table(small_table(60_000), tmp_path / "input" / "0.parquet")
    run = job.start()
    wait_for(lambda: attempts_of(job), seconds=60, what="an attempt", every_seconds=0.01)
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 130

    (plan,) = job.output.glob("_bij/*/plan.json")
    earlier = AttemptLog(Folder(job.output), plan.parent.name).earlier(committed=())
    assert earlier == EarlierAttempts((), {}, drivers=1)
