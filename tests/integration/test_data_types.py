"""Every column type arrives in the output as it is, whatever was cut, filtered or rejected."""

from __future__ import annotations

import decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testkit.checked_runs import checked, fail, succeed
from testkit.in_process import run
from testkit.jobs import Job
from testkit.small_jobs import linear_job, small_table
from testkit.written_tables import write

ROWS = 1003
"""Not a multiple of eight, so that slices begin inside of bytes of packed booleans."""


def with_nulls(values: list) -> list:
    return [None if row % 11 == 3 else value for row, value in enumerate(values)]


def columns_of_all_types() -> dict[str, pa.Array]:
    """A column of each type, all of them with nulls."""
    rows = range(ROWS)

    def column(make, kind=None):
        return pa.array(with_nulls([make(row) for row in rows]), kind)

    return {
        "timestamp ns": column(lambda i: 1_600_000_000_123_456_789 + i, pa.timestamp("ns")),
        "timestamp zone": column(lambda i: 10**15 + i, pa.timestamp("us", "Europe/Berlin")),
        "timestamp s": column(lambda i: i * 7777, pa.timestamp("s")),
        "date32": column(lambda i: i, pa.date32()),
        "date64": column(lambda i: i * 86_400_000, pa.date64()),
        "time64": column(lambda i: i * 1000, pa.time64("ns")),
        "duration": column(lambda i: i, pa.duration("ms")),
        "decimal128": column(lambda i: decimal.Decimal(i) / 100, pa.decimal128(20, 2)),
        "decimal256": column(lambda i: decimal.Decimal(i) / 100, pa.decimal256(50, 2)),
        "large_string": column(lambda i: f"x{i}", pa.large_string()),
        "string_view": column(lambda i: f"longer than twelve bytes {i}", pa.string_view()),
        "dictionary": column(lambda i: f"k{i % 7}").dictionary_encode(),
        "dictionary int": column(lambda i: i % 7).dictionary_encode(),
        "uint64": column(lambda i: 2**64 - 1 - i, pa.uint64()),
        "int8": column(lambda i: i % 256 - 128, pa.int8()),
        "bool": column(lambda i: i % 3 == 0),
        "binary": column(lambda i: b"\xff\x00%d" % i),
        "fixed binary": column(lambda i: b"%04d" % i, pa.binary(4)),
        "float16": column(lambda i: np.float16(i % 100), pa.float16()),
        "float64": column(lambda i: i / 7),
        "list": column(lambda i: [i] * (i % 4), pa.list_(pa.int32())),
        "list bool": column(lambda i: [True, None, False][: i % 4], pa.list_(pa.bool_())),
        "fixed list": column(lambda i: [i, i + 1.0], pa.list_(pa.float32(), 2)),
        "struct": column(lambda i: {"a": i, "b": [str(i)]}),
        "map": column(lambda i: [(f"k{i}", i)], pa.map_(pa.string(), pa.int64())),
        "null": pa.nulls(ROWS),
    }


def typed_job(folder: Path, data_format: str, fields: dict) -> tuple[Job, pa.Table]:
    """The linear job over one file of all types; row 5 and its multiples have no score."""
    numbers = pa.array(np.arange(ROWS, dtype="f4"))
    holes = pa.array([None if row % 5 == 0 else float(row) for row in range(ROWS)], pa.float32())
    table = pa.table(
        {
            "id": pa.array(range(ROWS)),
            "a": holes,
            "b": numbers,
            "c": numbers,
            **columns_of_all_types(),
        }
    )
    job = linear_job(
        folder, {"input.format": data_format, "input.storageUris": ["data/"], **fields}
    )
    if data_format == "Parquet":
        (folder / "data").mkdir()
        pq.write_table(table, folder / "data" / "a.parquet", row_group_size=333)
    else:
        write(table, folder / "data", "a", data_format)
    return job, table


@pytest.mark.parametrize(
    ("data_format", "output_format"),
    [("Parquet", "Parquet"), ("Arrow", "Arrow"), ("Arrow", "Parquet"), ("Parquet", "Arrow")],
)
@pytest.mark.parametrize("chosen", [None, "id % 3 <> 0"], ids=["all rows", "filtered"])
def test_all_types_are_copied_row_by_row(tmp_path, data_format, output_format, chosen):
    names = list(columns_of_all_types())
    fields = {
        "output.format": output_format,
        "output.passthroughFields": ["id", *names],
        "batching.batchSize": 7,
    }
    if chosen is not None:
        fields["input.filter"] = chosen
    job, table = typed_job(tmp_path, data_format, fields)

    result = succeed(job)

    kept = [row for row in range(ROWS) if row % 5 and (chosen is None or row % 3)]
    every = table.select(["id", *names]).to_pylist()
    rows = [every[row] for row in kept]
    for name in ["id", *names]:
        assert result.column(name) == [row[name] for row in rows], name
    assert result.column("score") == [np.float32(6 * row + 0.5) for row in kept]
    lost = [row for row in range(0, ROWS, 5) if chosen is None or row % 3]
    assert sorted(record["row"] for record in result.rejects) == lost


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("uint64", "18446744073709551610"),
        ("timestamp zone", "2001-09-09 01:46:40.000005Z"),
        ("decimal128", "0.05"),
        ("dictionary", "k5"),
        ("date32", "1970-01-06"),
        ("binary", "0xff0035"),
        ("fixed binary", "0005"),
        ("bool", "false"),
        ("null", None),
    ],
)
def test_keys_of_any_plain_type_name_the_rejected_row(tmp_path, key, text):
    job, _ = typed_job(tmp_path, "Arrow", {"input.keyField": key})
    found = {record["row"]: record["key"] for record in succeed(job).rejects}
    assert found[5] == text


@pytest.mark.parametrize("key", ["list", "fixed list", "struct", "map"])
def test_keys_that_have_no_text_are_refused_while_planning(tmp_path, key):
    job, _ = typed_job(tmp_path, "Arrow", {"input.keyField": key})
    message = fail(job).message
    assert message.startswith("SchemaMismatch: input.keyField names")
    assert repr(key) in message


def test_int96_timestamps_are_copied_in_microseconds(tmp_path):
    """Nanoseconds would wrap around: 9999-12-31, how Spark writes an open end, is beyond 2262."""
    moments = pa.array(
        [1_600_000_000_123_456 + row for row in range(9)] + [253_402_214_400_000_000],
        pa.timestamp("us"),
    )
    table = pa.table({"id": range(10), "moment": moments})
    for name in "abc":
        table = table.append_column(name, pa.array(np.arange(10, dtype="f4")))
    job = linear_job(
        tmp_path,
        {"input.storageUris": ["a.parquet"], "output.passthroughFields": ["id", "moment"]},
    )
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert succeed(job).column("moment") == moments.to_pylist()


def test_int96_timestamps_are_cut_below_a_microsecond(tmp_path):
    moments = pa.array([1_600_000_000_123_456_789 + row for row in range(10)], pa.timestamp("ns"))
    table = small_table().append_column("moment", moments)
    job = linear_job(tmp_path, {"output.passthroughFields": ["id", "moment"]})
    pq.write_table(table, tmp_path / "input" / "0.parquet", use_deprecated_int96_timestamps=True)
    found = succeed(job).column("moment")
    assert found == moments.cast(pa.timestamp("us"), safe=False).to_pylist()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("timestamp zone", "2001-09-09 01:46:40.000001Z"),
        ("decimal128", "0.01"),
        ("uint64", "18446744073709551614"),
        ("time64", "00:00:00.000001000"),
        ("bool", "false"),
    ],
)
def test_csv_writes_values_without_loss(tmp_path, name, line):
    fields = {"output.format": "CSV", "output.passthroughFields": ["id", name]}
    job, _ = typed_job(tmp_path, "Arrow", fields)
    assert run(job).code == 0
    checked(job)
    (file,) = job.output.glob("part-*")
    assert file.read_text().splitlines()[1] == f"1,{line},6.5"
