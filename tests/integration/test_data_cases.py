"""Damaged, odd and extreme input: each case ends as docs/formats.md says, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testkit.checked_runs import fail, succeed
from testkit.small_jobs import expected, job_over, score_of, small_table
from testkit.written_tables import write


def damage_row_group(path: Path, ordinal: int, column: int = 1) -> None:
    """Overwrite the pages of one column of one row group."""
    chunk = pq.ParquetFile(path).metadata.row_group(ordinal).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    body = bytearray(path.read_bytes())
    body[start : start + chunk.total_compressed_size] = b"\xee" * chunk.total_compressed_size
    path.write_bytes(body)


def test_a_damaged_row_group_is_rejected_and_the_others_are_scored(tmp_path):
    job = job_over(tmp_path, "Parquet")
    path = tmp_path / "data" / "a.parquet"
    pq.write_table(small_table(30), path, row_group_size=10, write_page_checksum=True)
    damage_row_group(path, 1)
    pq.write_table(small_table(10, first=30), tmp_path / "data" / "b.parquet")

    result = succeed(job)

    assert result.by("id") == expected(*range(10), *range(20, 40))
    wanted = [("a.parquet", row, "Read", "CorruptRowGroup") for row in range(10, 20)]
    assert result.rejected() == wanted


@pytest.mark.parametrize("data_format", ["Parquet", "Arrow"])
def test_a_row_whose_text_is_not_utf8_is_rejected_and_its_neighbours_are_scored(
    tmp_path, data_format
):
    job = job_over(tmp_path, data_format, {"output.passthroughFields": ["id", "name"]})
    names = [b"M\xfcller" if row in (4, 17) else b"name %d" % row for row in range(30)]
    table = small_table(30).append_column("name", pa.array(names).view(pa.string()))
    path = write(table, tmp_path / "data", "a", data_format)

    result = succeed(job)

    assert result.by("id") == expected(*set(range(30)) - {4, 17})
    assert result.rejected() == [(path.name, row, "Read", "InvalidUtf8") for row in (4, 17)]


@pytest.mark.parametrize("shard_rows", [10, 20, 30])
def test_a_damaged_first_row_group_is_rejected_too(tmp_path, shard_rows):
    job = job_over(tmp_path, "Parquet", {"sharding.targetRowsPerShard": shard_rows})
    path = tmp_path / "data" / "a.parquet"
    pq.write_table(small_table(30), path, row_group_size=10, write_page_checksum=True)
    damage_row_group(path, 0)

    result = succeed(job)

    assert result.by("id") == expected(*range(10, 30))
    assert [row for _, row, _, _ in result.rejected()] == list(range(10))


@pytest.mark.parametrize("cut", [4, 100], ids=["without its end", "in the footer"])
def test_a_damaged_footer_refuses_the_job_and_names_the_file(tmp_path, cut):
    job = job_over(tmp_path, "Parquet")
    path = tmp_path / "data" / "a.parquet"
    pq.write_table(small_table(), path)
    pq.write_table(small_table(first=10), tmp_path / "data" / "b.parquet")
    path.write_bytes(path.read_bytes()[:-cut])

    ended = fail(job)

    assert ended.message.startswith("InputCorrupt")
    assert "a.parquet" in ended.message


@pytest.mark.parametrize("data_format", ["CSV", "JSONLines"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_text_that_ends_too_early_keeps_the_rows_before(tmp_path, data_format, codec):
    job = job_over(tmp_path, data_format)
    rows = 20_000
    path = write(small_table(rows), tmp_path / "data", "a", data_format, codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    write(small_table(10, first=rows), tmp_path / "data", "b", data_format)

    result = succeed(job)

    [(file, _, stage, error)] = result.rejected()
    assert (file, stage, error) == (path.name, "Read", "TruncatedInput")
    scores = result.by("id")
    kept = len(scores) - 10
    assert kept < rows
    assert scores == expected(*range(kept), *range(rows, rows + 10))
    if codec == "gzip":
        assert kept > 0


def test_csv_rows_that_cannot_be_read_are_rejected_at_their_offsets(tmp_path):
    job = job_over(tmp_path, "CSV")
    lines = [f"{row},{row},{row},{row}" for row in range(40)]
    lines[3] = "3,3,3"
    lines[7] = '7,7,"7'  # opens a value that row 9 closes
    lines[8] = "8,8,8,8"
    lines[9] = '9",9'
    lines[20] = "20,twenty,20,20"
    lines[30] = '30,30,"30'  # never closed: takes all that follows
    text = "\n".join(["id,a,b,c", *lines]) + "\n"
    (tmp_path / "data" / "a.csv").write_text(text)

    result = succeed(job)

    offset = {row: text.index(f"\n{lines[row]}\n") + 1 for row in (3, 7, 20, 30)}
    assert result.rejected() == [
        ("a.csv", offset[3], "Read", "InvalidCsvRow"),
        ("a.csv", offset[7], "Read", "TypeMismatch"),
        ("a.csv", offset[20], "Read", "TypeMismatch"),
        ("a.csv", offset[30], "Read", "UnclosedQuote"),
    ]
    assert result.by("id") == expected(*set(range(30)) - {3, 7, 8, 9, 20})


def test_json_lines_that_cannot_be_read_are_rejected_at_their_offsets(tmp_path):
    job = job_over(tmp_path, "JSONLines")
    lines = [f'{{"id": {i}, "a": {i}, "b": {i}, "c": {i}}}'.encode() for i in range(40)]
    lines[0] = b"{"
    lines[5] = b'{"id": 5, "a": "x", "b": 5, "c": 5}'
    lines[6] = b'{"id": 6, "a": 6, "b": 6, "c": 6, "a": 6}'
    lines[7] = b'{"id": 7, "a": 7, "b": 7, "c": 7, "z": "\xff"}'
    lines[39] = b"[39]"
    text = b"\n".join(lines)
    (tmp_path / "data" / "a.jsonl").write_bytes(text)

    result = succeed(job)

    offset = [sum(len(line) + 1 for line in lines[:row]) for row in range(40)]
    assert result.rejected() == [
        ("a.jsonl", offset[0], "Read", "InvalidJson"),
        ("a.jsonl", offset[5], "Read", "TypeMismatch"),
        ("a.jsonl", offset[6], "Read", "DuplicateKey"),
        ("a.jsonl", offset[7], "Read", "InvalidUtf8"),
        ("a.jsonl", offset[39], "Read", "InvalidJson"),
    ]
    assert result.by("id") == expected(*set(range(40)) - {0, 5, 6, 7, 39})


def test_numbers_of_different_widths_are_widened(tmp_path):
    job = job_over(tmp_path, "Parquet")
    narrow = pa.schema([("id", pa.int32()), *((name, pa.int16()) for name in "abc")])
    pq.write_table(small_table().cast(narrow), tmp_path / "data" / "a.parquet")
    pq.write_table(small_table(first=10), tmp_path / "data" / "b.parquet")
    assert succeed(job).by("id") == expected(*range(20))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.set_column(1, "a", table["a"].cast("string")), ("string", "float")),
        (lambda table: table.drop_columns(["b"]), ("b",)),
        (lambda table: table.rename_columns(["id", "a", "b", "B"]), ("'b'", "'B'")),
    ],
    ids=["type", "missing", "case"],
)
def test_files_that_contradict_each_other_refuse_the_job(tmp_path, change, words):
    job = job_over(tmp_path, "Parquet")
    pq.write_table(small_table(), tmp_path / "data" / "a.parquet")
    pq.write_table(change(small_table()), tmp_path / "data" / "b.parquet")

    ended = fail(job)

    assert ended.message.startswith(("SchemaMismatch", "AmbiguousColumn"))
    assert "b.parquet" in ended.message
    for word in words:
        assert word in ended.message


@pytest.mark.parametrize("data_format", ["Parquet", "CSV", "JSONLines", "Arrow"])
def test_files_without_rows_take_part_without_a_trace(tmp_path, data_format):
    job = job_over(tmp_path, data_format)
    empty = small_table().slice(0, 0)
    write(empty, tmp_path / "data", "a", data_format)
    write(small_table(), tmp_path / "data", "b", data_format)
    write(empty, tmp_path / "data", "c", data_format)
    if data_format in ("CSV", "JSONLines"):
        (tmp_path / "data" / f"d.{data_format}").write_bytes(b"")

    assert succeed(job).by("id") == expected(*range(10))


@pytest.mark.parametrize("data_format", ["Parquet", "Arrow"])
@pytest.mark.parametrize("output_format", ["Parquet", "CSV", "JSONLines", "Arrow"])
def test_a_dataset_without_rows_gives_one_empty_file_with_its_schema(
    tmp_path, data_format, output_format
):
    job = job_over(tmp_path, data_format, {"output.format": output_format})
    write(small_table().slice(0, 0), tmp_path / "data", "a", data_format)

    result = succeed(job)

    assert result.counts == {"read": 0, "written": 0, "rejected": 0, "filtered": 0}
    [file] = result.manifest["files"]
    if output_format == "Parquet":
        schema = pq.read_schema(job.output / file["path"])
        assert schema.equals(pa.schema([("id", pa.int64()), ("score", pa.float32())]))
    if output_format == "CSV":
        assert (job.output / file["path"]).read_text() == '"id","score"\n'


@pytest.mark.parametrize("codec", ["", "gzip"])
@pytest.mark.parametrize("output_format", ["Parquet", "CSV", "JSONLines", "Arrow"])
def test_csv_files_that_only_have_a_header_are_a_dataset_without_rows(
    tmp_path, codec, output_format
):
    expressions = ["id || '!'", "CASE WHEN a > b THEN c END", "name0 || ' ' || id"]
    computed = [
        {"name": f"name{index}", "expression": expression}
        for index, expression in enumerate(expressions)
    ]
    fields = {"preprocessing.columns": computed, "input.filter": "a > 0"}
    job = job_over(tmp_path, "CSV", {"output.format": output_format, **fields})
    write(small_table().slice(0, 0), tmp_path / "data", "a", "CSV", codec=codec)

    assert succeed(job).counts == {"read": 0, "written": 0, "rejected": 0, "filtered": 0}


def test_files_of_zero_bytes_are_no_parquet(tmp_path):
    job = job_over(tmp_path, "Parquet")
    (tmp_path / "data" / "a.parquet").write_bytes(b"")
    assert fail(job).message.startswith("InputCorrupt")


def test_no_files_are_refused_and_say_where_none_was_found(tmp_path):
    job = job_over(tmp_path, "Parquet")
    message = fail(job).message
    assert message.startswith("InputNotFound")
    assert "data/" in message


def test_a_row_group_of_a_million_rows_is_scored_in_slices(tmp_path):
    job = job_over(tmp_path, "Parquet")
    rows = 1_500_000
    numbers = np.arange(rows) % 1000
    column = pa.array(numbers.astype("f4"))
    table = pa.table({"id": pa.array(np.arange(rows)), "a": column, "b": column, "c": column})
    pq.write_table(table, tmp_path / "data" / "a.parquet", row_group_size=rows)

    result = succeed(job)

    [file] = result.manifest["files"]
    found = pq.read_table(job.output / file["path"])
    assert found["id"].to_numpy().tolist() == list(range(rows))
    assert np.array_equal(found["score"].to_numpy(), (6 * numbers + 0.5).astype("f4"))


def test_ten_thousand_tiny_files_are_each_scored_once(tmp_path):
    job = job_over(tmp_path, "Parquet", {"output.passthroughFields": ["id"]})
    original = tmp_path / "data" / "00000.parquet"
    pq.write_table(small_table(3), original)
    body = original.read_bytes()
    for number in range(1, 10_000):
        (tmp_path / "data" / f"{number:05d}.parquet").write_bytes(body)

    result = succeed(job)
    assert result.counts["written"] == 30_000
    assert result.column("id") == [0, 1, 2] * 10_000
    assert result.column("score") == [score_of(row) for row in (0, 1, 2)] * 10_000
