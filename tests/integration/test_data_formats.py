"""Every input format to every output format, through all stages, with rejects in each of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testkit import onnx_models
from testkit.checked_runs import Result, checked, fail, succeed
from testkit.in_process import run
from testkit.jobs import Job
from testkit.small_jobs import job_over, linear_job, score_of, set_fields, small_table
from testkit.written_tables import EXTENSIONS, FORMATS, write

COMPRESSIONS = {
    "Parquet": ("none", "gzip", "lz4", "snappy", "zstd"),
    "CSV": ("none", "gzip", "zstd"),
    "JSONLines": ("none", "gzip", "zstd"),
    "Arrow": ("none", "lz4", "zstd"),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_becomes_every_other(tmp_path, data_format, output_format):
    job = linear_job(tmp_path)
    table = small_table(30).append_column("t", pa.array([f"é {i}" for i in range(30)]))
    write(table.slice(0, 12), tmp_path / "data", "a", data_format)
    write(table.slice(12), tmp_path / "data" / "below", "b", data_format)
    set_fields(
        job,
        {
            "input.format": data_format,
            "input.storageUris": ["data/"],
            "input.filter": "id < 25",
            "output.format": output_format,
            "output.passthroughFields": ["id", "t"],
        },
    )

    result = succeed(job)

    assert result.counts == {"read": 30, "written": 25, "rejected": 0, "filtered": 5}
    assert result.by("id") == {row: score_of(row) for row in range(25)}
    assert result.by("id", "t") == {row: f"é {row}" for row in range(25)}
    assert all(
        file["path"].endswith(f".{EXTENSIONS[output_format]}") for file in result.manifest["files"]
    )


FAR = {"date32": 2**31 - 1, "date64": 2**57, "timestamp[s]": 10**13}


MOMENTS = ("timestamp[us]", "timestamp[s]", "date32", "date64", "zone")
AS_TEXT = [
    *(({"format": text}, kind) for text in ("JSONLines", "CSV") for kind in MOMENTS),
    ({"partitionBy": ["t"]}, "date32"),
]


def test_a_value_that_no_folder_can_be_named_after_is_rejected(tmp_path):
    names = ["a", "x" * 253, "x" * 254, "é" * 127, None, "%" * 85, "/" * 83, "b"]
    job = linear_job(tmp_path, {"output.partitionBy": ["k"]})
    set_fields(job, {"output.passthroughFields": ["id", "k"], "errorPolicy.onError": "DeadLetter"})
    table = small_table(8).append_column("k", pa.array(names))
    pq.write_table(table, tmp_path / "input" / "0.parquet")

    result = run(job)

    told = {reject["row"]: (reject["stage"], reject["error"]) for reject in job.rejects()}
    assert told == dict.fromkeys((2, 3, 5), ("Write", "PartitionValueTooLong"))
    assert result.code == 0
    files = [pq.read_table(job.output / file["path"]) for file in job.manifest()["files"]]
    assert sorted(pa.concat_tables(files).column("id").to_pylist()) == [0, 1, 4, 6, 7]


@pytest.mark.parametrize(("fields", "kind"), AS_TEXT)
def test_a_moment_that_text_cannot_tell_is_rejected(tmp_path, fields, kind):
    """Nanoseconds that were stored as microseconds: Arrow would write words, or another year."""
    far = FAR.get(kind, 2**60)
    date32 = kind == "date32"
    arrow = pa.timestamp("us", "Europe/Oslo") if kind == "zone" else pa.type_for_alias(kind)
    whole = pa.array([far, 1, None, -far])
    moments = whole.cast(pa.int32() if date32 else pa.int64()).cast(arrow, safe=False)
    job = linear_job(tmp_path, {f"output.{name}": value for name, value in fields.items()})
    set_fields(job, {"output.passthroughFields": ["id", "t"], "errorPolicy.onError": "DeadLetter"})
    table = small_table(4).append_column("t", moments)
    pq.write_table(table, tmp_path / "input" / "0.parquet")

    result = run(job)

    told = {reject["row"]: (reject["stage"], reject["error"]) for reject in job.rejects()}
    assert told == {0: ("Write", "OutOfRange"), 3: ("Write", "OutOfRange")}
    assert result.code == 0
    assert job.manifest()["counts"]["written"] == 2


@pytest.mark.parametrize(
    ("output_format", "compression"),
    [(name, codec) for name, codecs in COMPRESSIONS.items() for codec in codecs],
)
def test_every_compression_is_read_back(tmp_path, output_format, compression):
    fields = {"output.format": output_format, "output.compression": compression}
    assert succeed(linear_job(tmp_path, fields)).by("id") == {i: score_of(i) for i in range(10)}


@pytest.mark.parametrize("data_format", ["CSV", "JSONLines"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_shard_of_many_compressed_texts_needs_no_retry(tmp_path, data_format, codec):
    job = job_over(tmp_path, data_format, {"backoffLimitPerShard": 0})
    for number in range(6):
        table = small_table(first=10 * number)
        write(table, tmp_path / "data", str(number), data_format, codec=codec)

    assert succeed(job).by("id") == {row: score_of(row) for row in range(60)}


def test_files_folders_globs_and_partitions_make_one_dataset(tmp_path):
    job = linear_job(tmp_path)
    for place, folder in enumerate(
        ("y=1/land=DE", "y=1/land=a%2Fb", "y=2/land=DE", "y=10/land=FR")
    ):
        write(small_table(5, first=5 * place), tmp_path / "data" / folder, "x", "Parquet")
    set_fields(
        job,
        {
            "input.storageUris": ["data/y=*/land=*/*.parquet", f"file://{tmp_path}/data/"],
            "output.passthroughFields": ["id", "y", "land"],
        },
    )

    result = succeed(job)

    assert result.by("id") == {row: score_of(row) for row in range(20)}
    found = {(row["id"] // 5, row["y"], row["land"]) for row in result.rows}
    assert found == {(0, 1, "DE"), (1, 1, "a/b"), (2, 2, "DE"), (3, 10, "FR")}


@pytest.mark.parametrize("output_format", FORMATS)
def test_partitions_hold_special_characters_and_nulls(tmp_path, output_format):
    values = ["DE", "a/b=c%", None, "", "é ü", "..", "x:y*?", "tab\t", " ", "DE"]
    job = linear_job(
        tmp_path,
        {
            "output.format": output_format,
            "output.passthroughFields": ["id", "land"],
            "output.partitionBy": ["land"],
        },
    )
    table = small_table().append_column("land", pa.array(values))
    pq.write_table(table, tmp_path / "input" / "0.parquet")

    result = succeed(job)

    assert result.by("id") == {row: score_of(row) for row in range(10)}
    assert result.by("id", "land") == {row: text or None for row, text in enumerate(values)}


def stages_job(folder: Path, fields: dict | None = None) -> Job:
    """Rows 2, 4, 6, 8 and 9 fail, each in another stage; row 3 is filtered."""
    job = linear_job(folder)
    model = onnx_models.gather(folder / "gather.onnx", size=10)
    texts = ["0", "1", "x", "3", "4", "5", "6", "7", "88", "9"]
    table = pa.table({"id": list(range(10)), "text": texts, "n": list(range(10))})
    table = table.set_column(2, "n", pa.array([0, 1, 2, 3, None, 5, 6, 7, 8, 9], pa.int64()))
    pq.write_table(table, folder / "input" / "0.parquet")
    return set_fields(
        job,
        {
            "model.storageUri": str(model),
            "model.inputs": [{"name": "index", "columns": ["twice"]}],
            "input.filter": "CAST(text AS INTEGER) <> 3",
            "preprocessing.columns": [
                {"name": "once", "expression": "n // CAST(id <> 6 AS BIGINT)"},
                {"name": "twice", "expression": "once + 2 * CAST(length(text) > 1 AS BIGINT)"},
            ],
            "postprocessing.columns": [
                {
                    "name": "label",
                    "expression": "if(value > 50, 'high', 'low') || CAST(9 // (9 - id) AS VARCHAR)",
                }
            ],
            **(fields or {}),
        },
    )


REJECTED_IN_STAGES = [
    ("0.parquet", 2, "Filter", "SqlError"),
    ("0.parquet", 4, "Bind", "NullInput"),
    ("0.parquet", 6, "Preprocess", "SqlError"),
    ("0.parquet", 8, "Infer"),
    ("0.parquet", 9, "Postprocess", "SqlError"),
]


def test_rows_fail_in_every_stage_and_the_others_are_scored(tmp_path):
    result = succeed(stages_job(tmp_path))

    found = result.rejected()
    for record, wanted in zip(found, REJECTED_IN_STAGES, strict=True):
        assert record[: len(wanted)] == wanted
    assert {record["row"]: record["key"] for record in result.rejects} == {
        row: str(row) for row in (2, 4, 6, 8, 9)
    }
    assert result.by("id", "value") == {0: 10, 1: 20, 5: 60, 7: 80}
    assert result.by("id", "label") == {0: "low1", 1: "low1", 5: "high2", 7: "high4"}
    assert result.counts == {"read": 10, "written": 4, "rejected": 5, "filtered": 1}


def test_skip_counts_rejects_and_writes_none(tmp_path):
    result = succeed(stages_job(tmp_path, {"errorPolicy.onError": "Skip"}))
    assert result.counts == {"read": 10, "written": 4, "rejected": 5, "filtered": 1}
    assert result.manifest["rejects"] == []
    assert not (tmp_path / "output" / "_rejects").exists()


def test_fail_names_the_first_rejected_row(tmp_path):
    message = fail(stages_job(tmp_path, {"errorPolicy.onError": "Fail"})).message
    assert message.startswith("RowRejected")
    assert "0.parquet" in message
    assert "row 2" in message


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"errorThreshold": 5}, 0),
        ({"errorThreshold": 4}, 1),
        ({"maxErrorRate": "0.5"}, 0),
        ({"maxErrorRate": "0.49"}, 1),
    ],
)
def test_limits_of_rejects_are_exact(tmp_path, policy, code):
    job = stages_job(tmp_path, {"errorPolicy": policy})
    ended = run(job)
    assert bool(ended.code) == bool(code)
    if code:
        assert ended.message.startswith("ErrorThresholdExceeded")
        assert not (job.output / "_SUCCESS").exists()
    else:
        checked(job)


def nulls_job(folder: Path, fields: dict) -> Result:
    job = linear_job(folder, fields)
    holes = pa.array([None, 1.0, float("nan"), float("inf"), *range(4, 10)], pa.float32())
    table = small_table().set_column(1, "a", holes)
    pq.write_table(table, folder / "input" / "0.parquet")
    return succeed(job)


def test_non_finite_scores_are_rejected_where_asked(tmp_path):
    result = nulls_job(
        tmp_path,
        {
            "model.outputs": [{"name": "score", "column": "score", "nonFinite": "Reject"}],
            "model.inputs": [{"name": "input", "columns": ["a", "b", "c"], "nulls": "NaN"}],
        },
    )
    assert result.rejected() == [("0.parquet", row, "Infer", "NonFinite") for row in (0, 2, 3)]
    assert result.by("id") == {row: score_of(row) for row in (1, *range(4, 10))}


def test_nulls_are_filled_where_asked(tmp_path):
    binding = {"name": "input", "columns": ["a", "b", "c"], "fillValue": "100"}
    result = nulls_job(tmp_path, {"model.inputs": [binding]})
    assert result.rejects == []
    assert result.by("id")[0] == 100.5
    assert result.by("id")[1] == score_of(1)


@pytest.mark.parametrize("pick", [{}, {"index": 0}], ids=["whole", "picked"])
def test_a_dataset_in_which_no_row_can_be_scored_is_all_rejects(tmp_path, pick):
    output = {"name": "score", "column": "score", "nonFinite": "Reject", **pick}
    job = linear_job(tmp_path, {"model.outputs": [output]})
    table = small_table().set_column(1, "a", pa.nulls(10, pa.float32()))
    pq.write_table(table, tmp_path / "input" / "0.parquet")

    result = succeed(job)

    assert result.rejected() == [("0.parquet", row, "Bind", "NullInput") for row in range(10)]
    assert result.counts == {"read": 10, "written": 0, "rejected": 10, "filtered": 0}
