"""What every field of spec.input does to a real run."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from testkit.in_process import run, validate
from testkit.jobs import Job
from testkit.small_jobs import linear_job, score_of, set_fields, small_table


def scores(job: Job) -> dict[int, float]:
    """Run the job and return its scores by id."""
    ended = run(job)
    assert ended.code == 0, ended.stdout
    return {row["id"]: row["score"] for row in job.rows()}


def expected(*rows: int) -> dict[int, float]:
    return {row: score_of(row) for row in rows}


def test_storage_uris_name_files_folders_and_globs(tmp_path):
    job = linear_job(tmp_path, files=4)
    job.spec["input"]["storageUris"] = ["input/0.parquet", "input/[12].parquet"]
    assert scores(job) == expected(*range(30))


def test_storage_uris_count_from_a_folder_whose_name_looks_like_a_glob(tmp_path):
    for name in ("project [1]", "project 1"):
        (tmp_path / name).mkdir()
    job = linear_job(tmp_path / "project [1]", {"input.storageUris": ["input/", "input/[1-9].*"]})
    pq.write_table(small_table(first=10), job.folder / "input" / "1.parquet")
    linear_job(tmp_path / "project 1", files=7)
    assert scores(job) == expected(*range(20))


def test_storage_uris_of_folders_skip_names_that_are_not_data(tmp_path):
    job = linear_job(tmp_path)
    folder = tmp_path / "input"
    (folder / "below").mkdir()
    (folder / "_work").mkdir()
    pq.write_table(small_table(first=10), folder / "below" / "1.parquet")
    for hidden in ("_0.parquet", ".0.parquet", "_work/0.parquet"):
        pq.write_table(small_table(first=90), folder / hidden)
    assert scores(job) == expected(*range(20))


def test_folders_named_key_value_become_columns(tmp_path):
    job = linear_job(tmp_path, {"output.passthroughFields": ["id", "country"]})
    (tmp_path / "input" / "0.parquet").unlink()
    for first, country in ((0, "DE"), (10, "FR")):
        folder = tmp_path / "input" / f"country={country}"
        folder.mkdir()
        pq.write_table(small_table(first=first), folder / "0.parquet")
    run(job)
    assert {row["id"]: row["country"] for row in job.rows()} == {
        row: "DE" if row < 10 else "FR" for row in range(20)
    }


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.csv.zst"])
def test_format_csv_is_read_as_it_is_or_compressed(tmp_path, name):
    job = linear_job(tmp_path, {"input.format": "CSV", "input.storageUris": [f"text/{name}"]})
    write_csv(tmp_path / "text" / name)
    assert scores(job) == expected(*range(10))


def test_format_json_lines(tmp_path):
    job = linear_job(tmp_path, {"input.format": "JSONLines", "input.storageUris": ["text/"]})
    lines = (f'{{"id": {i}, "a": {i}, "b": {i}, "c": {i}}}\n' for i in range(10))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "data.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    assert scores(job) == expected(*range(10))


def test_format_arrow(tmp_path):
    job = linear_job(tmp_path, {"input.format": "Arrow", "input.storageUris": ["data.arrow"]})
    table = small_table()
    with pa.ipc.new_file(tmp_path / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    assert scores(job) == expected(*range(10))


def test_csv_delimiter_and_header(tmp_path):
    job = linear_job(
        tmp_path,
        {
            "input.format": "CSV",
            "input.storageUris": ["text/"],
            "input.csv": {"delimiter": ";", "header": False},
            "input.keyField": "f0",
        },
    )
    job.spec["model"]["inputs"][0]["columns"] = ["f1", "f2", "f3"]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "data.csv").write_text("".join(f"{i};{i};{i};{i}\n" for i in range(10)))
    assert run(job).code == 0
    assert {row["f0"]: row["score"] for row in job.rows()} == expected(*range(10))


def test_csv_newlines_in_values_decide_what_a_row_is_and_where_files_are_cut(tmp_path):
    text = 'id,a,b,c,note\n0,0,0,0,"one\nrow"\n' + "".join(
        f"{i},{i},{i},{i},\n" for i in range(1, 9)
    )
    job = linear_job(
        tmp_path, {"input.format": "CSV", "input.storageUris": ["text/"], "input.csv": {}}
    )
    set_fields(job, {"output.passthroughFields": ["id", "note"]})
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "data.csv").write_text(text)
    for policy in ("Auto", "Always"):
        set_fields(job, {"input.csv.newlinesInValues": policy, "output.mode": "Overwrite"})
        assert run(job).code == 0
        assert job.rows()[0]["note"] == "one\nrow"
        assert job.manifest()["counts"]["rejected"] == 0

    set_fields(job, {"input.csv.newlinesInValues": "Never"})
    assert run(job).code == 0
    assert [row["id"] for row in job.rows()] == list(range(1, 9))
    assert [reject["error"] for reject in job.rejects()] == ["UnclosedQuote", "InvalidCsvRow"]


def test_filter_leaves_rows_out_and_counts_them(tmp_path):
    job = linear_job(tmp_path, {"input.filter": "a >= 4 AND id < 8"})
    ended = run(job)
    assert [row["id"] for row in job.rows()] == [4, 5, 6, 7]
    assert ended.result["report"]["rows"]["filtered"] == 6


def test_key_field_is_in_the_output_and_in_the_rejects(tmp_path):
    job = linear_job(tmp_path, {"input.keyField": "number"})
    table = small_table().set_column(1, "a", pa.array([None, *range(1, 10)], pa.float32()))
    table = table.append_column("number", pa.array(range(100, 110)))
    pq.write_table(table, tmp_path / "input" / "0.parquet")
    assert run(job).code == 0
    assert job.rows()[0] == {"number": 101, "score": score_of(1)}
    (reject,) = job.rejects()
    assert reject["key"] == "100"


def test_without_key_field_no_column_of_the_input_is_written(tmp_path):
    plan = validate(linear_job(tmp_path, {"input.keyField": ...})).result
    assert plan["outputColumns"] == ["score: float"]


def write_csv(path: Path) -> None:
    path.parent.mkdir()
    codec = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.CompressedOutputStream(path, codec) if codec else path.open("wb") as sink:
        pyarrow.csv.write_csv(small_table(), sink)
