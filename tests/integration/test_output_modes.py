"""What a run does where something is already: refuse, resume, replace, add, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_runner.cli import manifest as manifests
from batch_inference_runner.errors import ExitCode, Interrupted
from batch_inference_runner.progress.counters import Progress
from batch_inference_runner.schedule import driver
from batch_inference_runner.schedule.launch import launch
from testkit import onnx_models
from testkit.checked_runs import checked, fail, succeed
from testkit.deadlines import wait_for
from testkit.in_process import bij, run
from testkit.jobs import Job
from testkit.processes import scorers_below
from testkit.small_jobs import column_job, linear_job, score_of, set_fields, small_table


def parts(job: Job) -> set[str]:
    return {file.name for file in job.output.glob("part-*")}


def replace_input(job: Job, *, first: int = 100) -> None:
    pq.write_table(small_table(first=first), job.folder / "input" / "0.parquet")


def interrupt(job: Job, *, after_shards: int) -> None:
    """Run the job until so many shards are committed, then stop as Ctrl-C does."""
    stop = threading.Event()
    config = manifests.load(job.write()).config

    class Watched(Progress):
        def committed(self, shard: int, **counts: object) -> None:
            super().committed(shard, **counts)
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen >= after_shards:
                stop.set()

    with pytest.raises(Interrupted):
        driver.run(launch(config, stop=stop), progress=Watched(config.job))


def slow_job(folder: Path, fields: dict | None = None) -> Job:
    """Shards that take a few milliseconds, in many files."""
    many = {"sharding.targetRowsPerShard": 10, "sharding.targetBytesPerShard": "1Ki"}
    return linear_job(folder, {**many, **(fields or {})}, files=150)


def test_a_plan_that_another_driver_makes_meanwhile_is_gone_on_with(tmp_path):
    job = slow_job(tmp_path)
    config = manifests.load(job.write()).config
    launched = launch(config, stop=threading.Event())  # it prepares a plan of its own already
    interrupt(job, after_shards=5)
    outcome = driver.run(launched, progress=Progress(config.job))
    assert outcome.manifest.counts.written == 1500


def test_a_location_with_files_that_no_manifest_lists_is_refused(tmp_path):
    job = linear_job(tmp_path)
    job.output.mkdir()
    (job.output / "notes.csv").write_text("a\n1\n")
    message = fail(job).message
    assert message.startswith("OutputExists")
    assert "notes.csv" in message
    assert sorted(file.name for file in job.output.iterdir()) == ["notes.csv"]


def test_a_link_to_nothing_does_not_hide_what_a_location_holds(tmp_path):
    job = linear_job(tmp_path)
    job.output.mkdir()
    (job.output / "part-000000-00000000.parquet").write_bytes(b"")
    (job.output / "a").symlink_to("absent")
    message = fail(job).message
    assert message.startswith("OutputExists")
    assert "part-000000-00000000.parquet" in message


def test_the_same_job_again_has_nothing_to_do(tmp_path):
    job = linear_job(tmp_path)
    succeed(job)
    before = (job.output / "_SUCCESS").read_bytes()
    ended = run(job)
    assert ended.code == 0
    assert ended.result["outcome"] == "AlreadyComplete"
    rows = ended.result["report"]["rows"]
    assert rows["written"] == rows["total"] == job.manifest()["counts"]["written"] > 0
    assert (job.output / "_SUCCESS").read_bytes() == before


def change_model(job: Job) -> None:
    path = Path(job.spec["model"]["storageUri"])
    onnx_models.linear(path, width=3, batch="M")


@pytest.mark.parametrize(
    "change",
    [
        replace_input,
        change_model,
        lambda job: set_fields(job, {"input.filter": "id > 2"}),
        lambda job: set_fields(
            job, {"postprocessing.columns": [{"name": "x", "expression": "score"}]}
        ),
        lambda job: set_fields(job, {"output.compression": "none"}),
    ],
    ids=["input", "model", "filter", "postprocessing", "compression"],
)
def test_another_job_finds_its_output_taken_by_the_result_before(tmp_path, change):
    job = linear_job(tmp_path)
    succeed(job)
    before = (job.output / "_SUCCESS").read_bytes()
    change(job)
    assert fail(job).message.startswith("OutputExists")
    assert (job.output / "_SUCCESS").read_bytes() == before
    checked(job)


def test_overwrite_replaces_the_result_and_deletes_its_files(tmp_path):
    job = linear_job(tmp_path, files=3)
    succeed(job)
    old = parts(job)
    replace_input(job)
    set_fields(job, {"output.mode": "Overwrite"})

    result = succeed(job)

    assert result.by("id") == {row: score_of(row) for row in (*range(10, 30), *range(100, 110))}
    assert not old & parts(job)


def test_overwrite_goes_back_and_forth_between_two_jobs(tmp_path):
    job = linear_job(tmp_path, {"output.mode": "Overwrite"})
    for wanted in ("id < 5", "id >= 5", "id < 5"):
        set_fields(job, {"input.filter": wanted})
        first = 0 if wanted == "id < 5" else 5
        assert succeed(job).column("id") == list(range(first, first + 5))


def test_overwrite_with_another_format_leaves_no_old_file(tmp_path):
    job = linear_job(tmp_path, {"output.partitionBy": ["id"], "output.mode": "Overwrite"})
    succeed(job)
    set_fields(job, {"output.partitionBy": ..., "output.format": "CSV"})
    succeed(job)
    assert not list(job.output.rglob("*.parquet"))


def test_append_adds_to_the_result_and_counts_both(tmp_path):
    job = linear_job(tmp_path)
    succeed(job)
    old = parts(job)
    replace_input(job)
    set_fields(job, {"output.mode": "Append"})

    result = succeed(job)

    assert result.by("id") == {row: score_of(row) for row in (*range(10), *range(100, 110))}
    assert old < parts(job)
    assert result.counts["read"] == 20
    again = run(job).result
    assert (again["outcome"], again["report"]["rows"]["written"]) == ("AlreadyComplete", 10)
    assert "10 written, 0 rejected" in bij("run", job.write()).stdout


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"output.passthroughFields": ["id", "a"]}, "it lacks 'a: float'"),
        ({"output.passthroughFields": ["a"]}, "it has 'id: int64', which this job does not write"),
        (
            {"postprocessing.columns": [{"name": "more", "expression": "score > 0"}]},
            "it has 'more: float', which this job does not write; it lacks 'more: bool'",
        ),
        ({"output.format": "CSV"}, "it is Parquet, not CSV"),
        ({"output.partitionBy": ["id"]}, "it is partitioned by nothing, not by id"),
    ],
    ids=["one more", "other columns", "another type", "format", "partitions"],
)
def test_append_refuses_what_readers_could_not_read_as_one(tmp_path, fields, message):
    more = [{"name": "more", "expression": "score + score"}]
    job = linear_job(tmp_path, {"postprocessing.columns": more})
    succeed(job)
    before = (job.output / "_SUCCESS").read_bytes()
    replace_input(job)

    refused = fail(set_fields(job, {"output.mode": "Append", **fields})).message

    assert refused.startswith("OutputExists")
    assert message in refused
    assert (job.output / "_SUCCESS").read_bytes() == before
    checked(job)


def test_append_refuses_columns_in_another_order(tmp_path):
    """Readers of CSV go by the position of a column."""
    job = linear_job(tmp_path, {"output.passthroughFields": ["id", "a"]})
    succeed(job)
    replace_input(job)
    set_fields(job, {"output.mode": "Append", "output.passthroughFields": ["a", "id"]})
    assert "columns are in another order, id: int64, a: float, score: float" in fail(job).message


def test_append_adds_to_the_same_partitions(tmp_path):
    job = linear_job(tmp_path, {"output.mode": "Append", "output.partitionBy": ["id"]})
    succeed(job)
    replace_input(job)
    assert succeed(job).counts["read"] == 20


def test_an_unfinished_output_belongs_to_its_job_until_it_is_released(tmp_path):
    job = slow_job(tmp_path)
    interrupt(job, after_shards=5)
    other = Job(tmp_path, job.spec, name="other")

    message = fail(other).message
    assert message.startswith("OutputPathClaimed")
    assert "'job'" in message
    assert "bij gc" in message

    assert bij("gc", job.output, "--release").code == 0
    assert not parts(job)
    result = succeed(other)
    assert len(result.by("id")) == 1500
    assert result.manifest["job"]["name"] == "other"


def test_an_interrupted_run_goes_on_and_scores_the_rest_only(tmp_path):
    job = slow_job(tmp_path)
    interrupt(job, after_shards=5)
    done = {file: file.stat().st_mtime_ns for file in job.output.glob("part-*")}
    assert done
    result = succeed(job)
    assert result.by("id") == {row: score_of(row) for row in range(1500)}
    assert done == {file: file.stat().st_mtime_ns for file in done}


def test_an_interrupted_run_that_copies_maps_goes_on(tmp_path):
    """Parquet gives the values of a map the name of their column, which is written nowhere."""
    job = slow_job(tmp_path, {"output.passthroughFields": ["id", "words"]})
    for file in (tmp_path / "input").iterdir():
        table = pq.read_table(file)
        words = [[(f"w{row}", row)] for row in table["id"].to_pylist()]
        maps = pa.array(words, pa.map_(pa.string(), pa.int64()))
        pq.write_table(table.append_column("words", maps), file)
    interrupt(job, after_shards=5)
    result = succeed(job)
    assert result.by("id", "words") == {row: [(f"w{row}", row)] for row in range(1500)}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"input.filter": "id > 2"}, "input.filter"),
        ({"output.passthroughFields": ["id", "a"]}, "output.passthroughFields"),
        ({"errorPolicy.onError": "Skip"}, "onError"),
        ({"output.mode": "Overwrite"}, "output.mode"),
    ],
)
def test_an_interrupted_run_refuses_to_go_on_as_another_and_says_what_differs(
    tmp_path, fields, named
):
    job = slow_job(tmp_path)
    interrupt(job, after_shards=3)
    message = fail(set_fields(job, fields)).message
    assert message.startswith("OutputPathClaimed")
    assert "an earlier run of this job" in message
    assert named in message


@pytest.mark.parametrize("gone", [False, True], ids=["rewritten", "deleted"])
def test_an_input_that_changed_before_the_resume_fails_the_job(tmp_path, gone):
    job = slow_job(tmp_path)
    interrupt(job, after_shards=3)
    for file in (tmp_path / "input").iterdir():
        if gone:
            file.unlink()
        else:
            pq.write_table(small_table(9), file)
    message = fail(job).message
    assert message.startswith("InputChanged")
    assert ".parquet" in message


def test_files_that_were_added_before_the_resume_are_not_scored_and_named(tmp_path):
    job = slow_job(tmp_path)
    interrupt(job, after_shards=3)
    for name in ("zz", "aa"):
        pq.write_table(small_table(9), tmp_path / "input" / f"{name}.parquet")
    (tmp_path / "input" / "_hidden").write_bytes(b"")

    ended = run(job)

    assert ended.code == 0
    assert len(checked(job).rows) == 1500
    (note,) = [line for line in ended.stderr.splitlines() if "were added to the input" in line]
    assert json.loads(note)["files"] == 2
    assert json.loads(note)["first"] == f"file://{tmp_path}/input/aa.parquet"


def test_another_model_at_the_resume_fails_the_job(tmp_path):
    job = slow_job(tmp_path)
    interrupt(job, after_shards=3)
    change_model(job)
    assert fail(job).message.startswith("ModelDigestMismatch")


@pytest.mark.parametrize(
    ("before", "after", "resumed"),
    [(7, 5, 5), ("auto", 5, 5), (7, "auto", 7)],
    ids=["another number", "a number for auto", "auto for a number"],
)
def test_a_new_batch_size_holds_from_the_resume_on(tmp_path, before, after, resumed):
    job = slow_job(tmp_path, {"batching.batchSize": before})
    interrupt(job, after_shards=3)
    ended = run(set_fields(job, {"batching.batchSize": after}))
    assert ended.code == 0, ended.stderr
    assert ended.result["report"]["model"]["batchSize"] == resumed
    assert "were added to the input" not in ended.stderr
    assert len(checked(job).rows) == 1500


def test_a_model_that_was_begun_row_by_row_is_not_resumed_in_larger_batches(tmp_path):
    model = onnx_models.softmax_over_rows(tmp_path / "m.onnx")
    table = pa.table({"id": range(400), "x": pa.array(range(400), pa.float32())})
    fields = {"batching.batchSize": 1, "sharding.targetRowsPerShard": 4}
    job = column_job(tmp_path, model, table, fields)
    pq.write_table(table, tmp_path / "input" / "0.parquet", row_group_size=4)
    interrupt(job, after_shards=3)

    message = fail(set_fields(job, {"batching.batchSize": 4})).message
    assert message.startswith("ModelNotRowwise")
    assert "batchSize: 1" in message

    result = succeed(set_fields(job, {"batching.batchSize": "auto"}))
    assert result.column("score") == [1.0] * 400


def test_equal_rows_do_not_vouch_for_larger_batches_at_a_resume(tmp_path):
    model = onnx_models.less_the_mean(tmp_path / "m.onnx")
    group = [1.0] * 300 + list(range(300))
    table = pa.table({"id": range(12_000), "x": pa.array(group * 20, pa.float32())})
    fields = {"batching.batchSize": 1, "sharding.targetRowsPerShard": 600}
    job = column_job(tmp_path, model, table, fields)
    pq.write_table(table, tmp_path / "input" / "0.parquet", row_group_size=600)
    interrupt(job, after_shards=1)

    assert fail(set_fields(job, {"batching.batchSize": 64})).message.startswith("ModelNotRowwise")

    result = succeed(set_fields(job, {"batching.batchSize": 1}))
    assert result.column("score") == [0.0] * 12_000


def test_an_input_that_changes_while_it_is_scored_fails_the_job(tmp_path):
    job = slow_job(tmp_path, {"execution.batchTimeoutSeconds": 600})
    process = job.start()
    try:
        wait_for(lambda: bool(parts(job)), seconds=30, what="the first commit", every_seconds=0.01)
        stopped = [process.pid, *scorers_below(process.pid)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        for file in (tmp_path / "input").iterdir():
            pq.write_table(small_table(9), file)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        assert process.wait(60) == ExitCode.FAILED
    finally:
        process.kill()
    assert not (job.output / "_SUCCESS").exists()
    assert fail(job).message.startswith("InputChanged")


def test_a_copied_result_is_still_verified_and_still_complete(tmp_path):
    job = linear_job(tmp_path)
    succeed(job)
    shutil.copytree(job.output, tmp_path / "copy")
    assert bij("verify", tmp_path / "copy").code == 0
    (file,) = (tmp_path / "copy").glob("part-*")
    file.write_bytes(file.read_bytes()[:-1])
    assert bij("verify", tmp_path / "copy").code != 0


def test_a_run_that_failed_by_its_limits_completes_with_others(tmp_path):
    job = linear_job(tmp_path, {"input.filter": "id // (id - 3) IS NOT NULL"})
    set_fields(job, {"errorPolicy": {"errorThreshold": 0}})
    assert fail(job).message.startswith("ErrorThresholdExceeded")
    set_fields(job, {"errorPolicy": {"errorThreshold": 1}})
    assert succeed(job).rejected() == [("0.parquet", 3, "Filter", "SqlError")]
