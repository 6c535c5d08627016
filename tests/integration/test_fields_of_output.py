"""What every field of spec.output and spec.errorPolicy does to a real run."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from testkit.in_process import bij, run
from testkit.jobs import Job
from testkit.small_jobs import linear_job, score_of, set_fields, small_table

BAD_ROWS = 3


def published(job: Job, pattern: str = "part-*") -> list[str]:
    return sorted(str(file.relative_to(job.output)) for file in job.output.glob(pattern))


def suffixes(job: Job) -> list[str]:
    return ["." + name.partition(".")[2] for name in published(job)]


def bad_rows_job(folder, policy: dict) -> Job:
    """Two files; the second has rows whose null the model must not see."""
    job = linear_job(folder, {"errorPolicy": policy, "sharding": {"targetRowsPerShard": 10}})
    table = small_table(first=10)
    nulls = pa.array([None] * BAD_ROWS + [0.0] * (10 - BAD_ROWS), pa.float32())
    pq.write_table(table.set_column(1, "a", nulls), folder / "input" / "1.parquet")
    return job


def test_storage_uri_is_where_the_result_is_published(tmp_path):
    job = linear_job(tmp_path, {"output.storageUri": "elsewhere/below/"})
    assert run(job).code == 0
    assert (tmp_path / "elsewhere" / "below" / "_SUCCESS").is_file()
    assert bij("verify", tmp_path / "elsewhere" / "below").code == 0


@pytest.mark.parametrize(
    ("fmt", "compression", "suffix"),
    [
        ("Parquet", None, ".parquet"),
        ("CSV", None, ".csv"),
        ("CSV", "gzip", ".csv.gz"),
        ("JSONLines", "zstd", ".jsonl.zst"),
        ("Arrow", None, ".arrow"),
    ],
)
def test_format_and_compression_decide_how_files_are_written(tmp_path, fmt, compression, suffix):
    job = linear_job(tmp_path, {"output.format": fmt})
    if compression:
        set_fields(job, {"output.compression": compression})
    assert run(job).code == 0
    assert suffixes(job) == [suffix]
    reader = {".parquet": "parquet", ".arrow": "ipc", ".csv": "csv"}.get(suffix, suffix)
    if reader in ("parquet", "ipc", "csv"):
        table = ds.dataset(job.output / published(job)[0], format=reader).to_table()
        assert table["score"].to_pylist() == [score_of(row) for row in range(10)]


@pytest.mark.parametrize(
    ("compression", "codec"), [(None, "ZSTD"), ("none", "UNCOMPRESSED"), ("gzip", "GZIP")]
)
def test_compression_of_parquet_is_zstd_unless_told_otherwise(tmp_path, compression, codec):
    job = linear_job(tmp_path, {"output.compression": compression} if compression else {})
    assert run(job).code == 0
    metadata = pq.read_metadata(job.output / published(job)[0])
    assert metadata.row_group(0).column(0).compression == codec


def test_passthrough_fields_are_copied(tmp_path):
    job = linear_job(tmp_path, {"output.passthroughFields": ["c", "a"]})
    assert run(job).code == 0
    assert list(job.rows()[0]) == ["c", "a", "score"]


def test_mode_decides_about_a_result_that_is_there(tmp_path):
    job = linear_job(tmp_path)
    assert run(job).code == 0
    first = published(job)
    pq.write_table(small_table(5), tmp_path / "input" / "0.parquet")
    assert run(set_fields(job, {"output.mode": "ErrorIfExists"})).message.startswith("OutputExists")
    assert published(job) == first

    assert run(set_fields(job, {"output.mode": "Append"})).code == 0
    assert sorted(row["id"] for row in job.rows()) == sorted([*range(10), *range(5)])

    pq.write_table(small_table(2), tmp_path / "input" / "0.parquet")
    assert run(set_fields(job, {"output.mode": "Overwrite"})).code == 0
    assert [row["id"] for row in job.rows()] == [0, 1]


def test_partition_by_makes_folders_outermost_first(tmp_path):
    job = linear_job(tmp_path, {"output.partitionBy": ["parity", "large"]})
    job.spec["postprocessing"] = {
        "columns": [
            {"name": "parity", "expression": "CASE WHEN id % 2 = 0 THEN 'even' ELSE 'odd' END"},
            {"name": "large", "expression": "id >= 5"},
        ]
    }
    assert run(job).code == 0
    folders = {name.rpartition("/")[0] for name in published(job, "**/part-*")}
    assert folders == {f"parity={p}/large={v}" for p in ("even", "odd") for v in ("true", "false")}
    table = ds.dataset(job.output / "parity=odd" / "large=true").to_table()
    assert table["id"].to_pylist() == [5, 7, 9]


@pytest.mark.parametrize("name", ["nope", "ID"])
@pytest.mark.parametrize("fmt", ["Parquet", "CSV"])
def test_partition_by_what_is_no_column_of_the_output_is_refused(tmp_path, fmt, name):
    output = {"storageUri": "output", "format": fmt, "partitionBy": [name]}
    ended = run(linear_job(tmp_path, {"output": output}))
    assert ended.code == 65
    assert ended.message.startswith("SchemaMismatch: ")
    assert f"output.partitionBy names {name!r}" in ended.message


@pytest.mark.parametrize(
    ("glob", "codes"),
    [
        pytest.param("country=*/day=*/*", [65, 65], id="any value, seen before anything is scored"),
        pytest.param("country=D*/day=*/*", [0, 65], id="some values, seen once there are results"),
    ],
)
def test_results_in_partitions_of_the_input_are_not_scored_again(tmp_path, glob, codes):
    job = linear_job(
        tmp_path,
        {
            "input.storageUris": [f"data/{glob}"],
            "output": {"storageUri": "data/", "format": "Parquet", "mode": "Overwrite"},
            "output.partitionBy": ["country", "day"],
            "output.passthroughFields": ["id", "a", "b", "c", "country", "day"],
        },
    )
    folder = tmp_path / "data" / "country=DE" / "day=1"
    folder.mkdir(parents=True)
    pq.write_table(small_table(), folder / "events.parquet")

    ended = [run(job) for _ in codes]

    assert [each.code for each in ended] == codes
    assert "InvalidSpec" in ended[-1].message
    assert len(list(folder.glob("part-*"))) == codes.count(0)


def test_on_error_dead_letter_keeps_the_row_among_the_rejects(tmp_path):
    job = bad_rows_job(tmp_path, {"onError": "DeadLetter"})
    ended = run(job)
    assert ended.code == 0
    assert len(job.rows()) == 20 - BAD_ROWS
    assert [reject["key"] for reject in job.rejects()] == ["10", "11", "12"]


def test_on_error_skip_counts_the_row_and_keeps_nothing(tmp_path):
    job = bad_rows_job(tmp_path, {"onError": "Skip"})
    ended = run(job)
    assert ended.code == 0
    assert ended.result["report"]["rows"]["rejected"] == BAD_ROWS
    assert job.rejects() == []


def test_on_error_fail_ends_the_job_at_the_first_bad_row(tmp_path):
    ended = run(bad_rows_job(tmp_path, {"onError": "Fail"}))
    assert (ended.code, ended.message.partition(":")[0]) == (70, "RowRejected")


@pytest.mark.parametrize(("limit", "code"), [(-1, 0), (BAD_ROWS, 0), (BAD_ROWS - 1, 70)])
def test_error_threshold_is_the_most_rows_that_may_be_rejected(tmp_path, limit, code):
    ended = run(bad_rows_job(tmp_path, {"errorThreshold": limit}))
    assert ended.code == code
    assert code == 0 or ended.message.startswith("ErrorThresholdExceeded")


@pytest.mark.parametrize(("rate", "code"), [("0.15", 0), ("0.149", 70)])
def test_max_error_rate_is_judged_at_the_end(tmp_path, rate, code):
    ended = run(bad_rows_job(tmp_path, {"maxErrorRate": rate}))
    assert ended.code == code
    assert code == 0 or ended.message.startswith("ErrorThresholdExceeded")
