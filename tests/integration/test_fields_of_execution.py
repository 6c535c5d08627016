"""What sharding, batching, execution, workers, budgets and deadlines do to a real run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_runner.cli.manifest import load
from batch_inference_runner.schedule.capacity import capacity_of
from batch_inference_runner.schedule.deadline import Deadline
from testkit import onnx_models
from testkit.in_process import run, validate
from testkit.jobs import Job, spec_of
from testkit.small_jobs import column_job, linear_job, set_fields

GIB = 1024**3
SMALLEST = -(2**63)
"""Divided by -1 it ends the process with SIGFPE."""
TURNS_OF_A_SECOND = 350_000
"""Turns of the looping model's loop that take about a second."""


def shards(job: Job) -> int:
    ended = validate(job)
    assert ended.code == 0, ended.stderr
    return ended.result["shards"]


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 1),
        ({"sharding.targetRowsPerShard": 20}, 3),
        ({"sharding.targetRowsPerShard": 1}, 6),
        ({"sharding.targetBytesPerShard": 1}, 6),
        ({"sharding.targetBytesPerShard": "1Gi"}, 1),
        ({"sharding.targetRowsPerShard": 1, "sharding.maxShards": 2}, 2),
        ({"sharding.targetBytesPerShard": 1, "sharding.maxShards": 1}, 1),
    ],
)
def test_sharding_fields_decide_how_many_shards_there_are(tmp_path, fields, count):
    assert shards(linear_job(tmp_path, fields, files=6)) == count


def test_batch_size_is_what_is_given_or_found(tmp_path):
    job = linear_job(tmp_path, {"batching.batchSize": 7})
    assert validate(job).result["model"]["batchSize"] == 7
    set_fields(job, {"batching.batchSize": "auto"})
    assert validate(job).result["model"]["batchSize"] > 7


def test_batch_size_one_accepts_a_model_that_looks_at_the_whole_batch(tmp_path):
    model = onnx_models.softmax_over_rows(tmp_path / "m.onnx")
    table = pa.table({"id": [0, 1], "x": pa.array([1.0, 2.0], pa.float32())})
    job = column_job(tmp_path, model, table, {"batching.batchSize": 1})
    assert run(job).code == 0
    assert [row["score"] for row in job.rows()] == [1.0, 1.0]


def test_execution_providers_must_be_active(tmp_path):
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    job = linear_job(tmp_path, {"execution.executionProviders": providers})
    ended = run(job)
    assert ended.code == 65
    assert ended.message.startswith("AcceleratorUnavailable: ")
    assert "'CUDAExecutionProvider'" in ended.message


def test_allow_provider_fallback_runs_on_what_there_is_and_says_so(tmp_path):
    execution = {
        "executionProviders": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "allowProviderFallback": True,
    }
    job = linear_job(tmp_path, {"execution": execution})
    ended = run(job)
    assert ended.code == 0
    assert ended.result["report"]["model"]["executionProvider"] == "CPUExecutionProvider"
    assert "CPUExecutionProvider" in (job.output / "_SUCCESS").read_text()


def test_intra_op_num_threads_are_the_threads_of_one_call(tmp_path):
    """ONNX Runtime has a pool of one thread less: the caller is the other one."""
    from testkit.scorers import make_scorer

    model = onnx_models.mlp(tmp_path / "m.onnx", width=1)
    schema = pa.schema([pa.field("input", pa.list_(pa.float32(), 1))])

    def threads_of(count: int) -> int:
        before = set(Path("/proc/self/task").iterdir())
        scorer = make_scorer(model, schema, intra_op_num_threads=count)
        started = set(Path("/proc/self/task").iterdir()) - before
        scorer.close()
        return len(started)

    assert threads_of(1) == 0
    assert threads_of(4) == 3
    job = linear_job(tmp_path, {"execution.intraOpNumThreads": 4})
    capacity = capacity_of(load(job.write()).config, cpus=8, memory_bytes=GIB)
    assert capacity.threads == 2, "fewer calls at once, so that no CPU has two threads"


def test_batch_timeout_seconds_cost_the_rows_that_hang_and_only_them(tmp_path):
    model = onnx_models.loop(tmp_path / "m.onnx")
    table = pa.table({"id": range(6), "count": [1, 2, 3, 4, 2**60, 6]})
    job = column_job(tmp_path, model, table, {"execution.batchTimeoutSeconds": 1})
    assert run(job).code == 0
    assert [row["id"] for row in job.rows()] == [0, 1, 2, 3, 5]
    assert [(each["key"], each["error"]) for each in job.rejects()] == [("4", "TimedOut")]


@pytest.mark.parametrize(
    ("resources", "threads", "memory"),
    [
        ({}, 8, 64 * GIB),
        ({"requests": {"cpu": "3"}}, 3, 64 * GIB),
        ({"requests": {"cpu": "3"}, "limits": {"cpu": "5"}}, 5, 64 * GIB),
        ({"requests": {"cpu": "500m", "memory": "1Gi"}}, 1, GIB),
        ({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}, 8, 2 * GIB),
        ({"limits": {"cpu": "100", "memory": "1Ti"}}, 8, 64 * GIB),
    ],
)
def test_workers_resources_bound_threads_and_memory(tmp_path, resources, threads, memory):
    job = linear_job(tmp_path, {"workers.resources": resources})
    capacity = capacity_of(load(job.write()).config, cpus=8, memory_bytes=64 * GIB)
    assert capacity.threads == threads
    assert 0.7 * memory < capacity.memory_bytes < 0.9 * memory


def test_workers_resources_limit_what_a_row_may_allocate(tmp_path):
    model = onnx_models.allocate(tmp_path / "m.onnx")
    numbers = 200_000_000  # of 4 bytes
    table = pa.table({"id": range(4), "size": [1, 2, numbers, 4]})
    job = column_job(tmp_path, model, table, {"workers.resources": {"limits": {"memory": "700Mi"}}})
    assert run(job).code == 0
    assert [row["id"] for row in job.rows()] == [0, 1, 3]
    assert [each["key"] for each in job.rejects()] == ["2"]
    set_fields(job, {"workers": {}, "output.storageUri": "unlimited/"})
    assert run(job).result["report"]["rows"]["written"] == 4


@pytest.mark.parametrize("limit", ["640Mi", "1536Mi"])
def test_a_small_memory_limit_is_enough_for_text_and_sql(tmp_path, limit):
    """Allocators reserve far more than they use, and none of it may count."""
    rows = "".join(f"{number},{number},{number},{number}\n" for number in range(1000))
    model = onnx_models.linear(tmp_path / "m.onnx")
    (tmp_path / "rows.csv").write_text(f"id,a,b,c\n{rows}")
    job = Job(tmp_path, spec_of(model, tmp_path, columns=["a", "b", "c"], model_input="input"))
    job.spec["input"] |= {"storageUris": [str(tmp_path / "rows.csv")], "format": "CSV"}
    job.spec["postprocessing"] = {"columns": [{"name": "twice", "expression": "score * 2"}]}
    job.spec["workers"] = {"resources": {"limits": {"memory": limit}}}
    assert run(job).code == 0
    assert len(job.rows()) == 1000


def crashing_job(folder, fields: dict) -> Job:
    """Two shards; a row in the second ends the process with SIGFPE."""
    model = onnx_models.divide(folder / "m.onnx")
    table = pa.table({"id": [0, 1, 2], "a": [1, 2, 3], "b": [1, 1, 1]})
    one_at_a_time = {
        "sharding": {"targetRowsPerShard": 3},
        "workers": {"resources": {"limits": {"cpu": "1"}}},
    }
    job = column_job(folder, model, table, {**one_at_a_time, **fields})
    crash = pa.table({"id": [3, 4, 5], "a": [1, SMALLEST, 3], "b": [1, -1, 1]})
    pq.write_table(crash, folder / "input" / "1.parquet")
    return job


def test_backoff_limit_per_shard_is_how_often_a_shard_is_tried_again(tmp_path):
    job = crashing_job(tmp_path, {"backoffLimitPerShard": 1})
    assert run(job).code == 0, "the second attempt isolates the row"
    assert [each["key"] for each in job.rejects()] == ["4"]


def test_without_backoff_limit_per_shard_one_crash_is_one_too_many(tmp_path):
    ended = run(crashing_job(tmp_path, {"backoffLimitPerShard": 0}))
    assert ended.code == 70
    assert ended.message.startswith("MaxFailedShardsExceeded: failed shards: 1, ")
    assert "Shard 1 failed at attempt 1, the last that" in ended.message


def test_max_failed_shards_may_fail_and_their_rows_are_rejected(tmp_path):
    job = crashing_job(tmp_path, {"backoffLimitPerShard": 0, "maxFailedShards": 1})
    assert run(job).code == 0
    assert list(job.manifest()["run"]["failedShards"]) == ["1"]
    assert [row["id"] for row in job.rows()] == [0, 1, 2]
    assert len(job.rejects()) == 3


def test_active_deadline_seconds_end_the_run_in_a_state_that_resumes(tmp_path, monkeypatch):
    model = onnx_models.loop(tmp_path / "m.onnx")
    table = pa.table({"id": range(3), "count": [1, 1, 1]})
    fields = {"sharding": {"targetRowsPerShard": 1}, "activeDeadlineSeconds": 1}
    job = column_job(tmp_path, model, table, fields)
    slow = pa.table({"id": [3], "count": [3 * TURNS_OF_A_SECOND]})
    pq.write_table(slow, tmp_path / "input" / "1.parquet")

    check = Deadline.check

    def after_the_first_commit(deadline: Deadline, now: float) -> None:
        if any(job.output.glob("part-*")):
            check(deadline, now)

    with monkeypatch.context() as patched:
        patched.setattr(Deadline, "check", after_the_first_commit)
        ended = run(job)
    assert ended.code == 70
    assert ended.message.startswith("DeadlineExceeded: ")
    assert "longer than spec.activeDeadlineSeconds" in ended.message
    before = {path: path.stat().st_mtime_ns for path in job.output.glob("part-*")}

    set_fields(job, {"activeDeadlineSeconds": 300})
    assert run(job).code == 0
    assert [row["id"] for row in job.rows()] == [0, 1, 2, 3]
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before, "what is committed was scored again"


def test_a_shard_that_was_beside_one_that_crashed_is_not_charged(tmp_path):
    job = crashing_job(tmp_path, {"backoffLimitPerShard": 0, "maxFailedShards": 1})
    del job.spec["workers"]
    assert run(job).code == 0
    assert {row["id"] for row in job.rows()} >= {0, 1, 2}
