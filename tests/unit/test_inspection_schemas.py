"""Planning: one schema for all files, or a refusal that names file, column and both types."""

from __future__ import annotations

import bz2
import gzip
import lzma
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.schemas import widest
from batch_inference_runner.formats.text_refusals import refuse_damaged
from testkit.datasets import Dataset, open_local, pinned, table_of, write_text


def parquet_files(tmp_path, *tables):
    files = []
    for index, table in enumerate(tables):
        pq.write_table(table, tmp_path / f"{index}.parquet")
        files.append(pinned(tmp_path / f"{index}.parquet"))
    return Dataset(tuple(files))


def refusal(dataset) -> tuple[str, str]:
    with pytest.raises(InvalidJob) as refused:
        dataset.inspect()
    return str(refused.value.reason), refused.value.message


def test_one_unit_per_row_group(tmp_path):
    pq.write_table(table_of(1000), tmp_path / "a.parquet", row_group_size=400)
    (inventory,) = Dataset((pinned(tmp_path / "a.parquet"),)).inspect().inventories
    assert [(unit.start, unit.stop, unit.rows) for unit in inventory.units] == [
        (0, 1, 400),
        (1, 2, 400),
        (2, 3, 200),
    ]
    assert all(unit.bytes > 0 for unit in inventory.units)


@pytest.mark.parametrize(
    ("left", "right", "both"),
    [
        ("int32", "int64", "int64"),
        ("float", "double", "double"),
        ("int32", "double", "double"),
        ("int16", "float", "float"),
        ("uint8", "int8", "int16"),
        ("uint32", "int32", "int64"),
        ("int64", "double", None),
        ("uint64", "int64", None),
        ("int32", "string", None),
        ("bool", "int8", None),
        ("null", "string", "string"),
    ],
)
def test_types_widen_only_without_loss(left, right, both):
    left, right = pa.type_for_alias(left), pa.type_for_alias(right)
    expected = None if both is None else pa.type_for_alias(both)
    assert widest(left, right) == expected
    assert widest(right, left) == expected


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.timestamp("us"), pa.timestamp("ms")),
        (pa.decimal128(10, 2), pa.decimal128(10, 3)),
        (pa.list_(pa.float32(), 3), pa.list_(pa.float32(), 4)),
        (pa.struct({"a": pa.int64()}), pa.struct({"b": pa.int64()})),
        (pa.int64(), pa.string()),
    ],
    ids=str,
)
def test_types_that_do_not_widen_are_refused_with_both_types(tmp_path, left, right):
    tables = [pa.table({"v": pa.nulls(1, left)}), pa.table({"v": pa.nulls(1, right)})]
    reason, message = refusal(parquet_files(tmp_path, *tables))
    assert reason == "SchemaMismatch"
    for part in ("'v'", str(left), str(right), "0.parquet", "1.parquet"):
        assert part in message


def test_a_column_that_one_file_lacks_is_refused_by_name(tmp_path):
    full, part = pa.table({"a": [1], "b": ["x"]}), pa.table({"a": [1]})
    for tables in ([full, part], [part, full]):
        reason, message = refusal(parquet_files(tmp_path, *tables))
        assert reason == "SchemaMismatch"
        assert "'b'" in message
        assert "string" in message
        assert "0.parquet" in message
        assert "1.parquet" in message


def test_columns_that_differ_only_in_case_are_refused(tmp_path):
    reason, message = refusal(parquet_files(tmp_path, pa.table({"A": [1], "a": [1]})))
    assert reason == "AmbiguousColumn"
    assert "'A'" in message
    assert "'a'" in message


@pytest.mark.parametrize(
    ("kind", "text"),
    [(DataFormat.CSV, "a,A\n1,2\n"), (DataFormat.JSON_LINES, '{"a": 1, "A": 2}\n')],
)
def test_text_columns_that_differ_only_in_case_are_refused(tmp_path, kind, text):
    dataset = Dataset((pinned(write_text(tmp_path / "a.txt", text)),), kind)
    assert refusal(dataset)[0] == "AmbiguousColumn"


def test_a_column_that_appears_twice_is_refused(tmp_path):
    dataset = Dataset((pinned(write_text(tmp_path / "a.csv", "a,b,a\n1,2,3\n")),), DataFormat.CSV)
    reason, message = refusal(dataset)
    assert reason == "AmbiguousColumn"
    assert "twice" in message


def test_different_csv_headers_are_refused(tmp_path):
    files = (
        pinned(write_text(tmp_path / "a.csv", "a,b\n1,2\n")),
        pinned(write_text(tmp_path / "b.csv", "a,c\n1,2\n")),
    )
    reason, message = refusal(Dataset(files, DataFormat.CSV))
    assert reason == "SchemaMismatch"
    assert "'b'" in message
    assert "b.csv" in message


def test_partition_columns_follow_the_files_columns(tmp_path):
    pq.write_table(pa.table({"v": [1]}), tmp_path / "a.parquet")
    files = tuple(
        pinned(tmp_path / "a.parquet", year=year, code=code)
        for year, code in (("2023", "07"), ("-5", "12"), ("__HIVE_DEFAULT_PARTITION__", "3"))
    )
    schema = Dataset(files).inspect().schema
    assert [(field.name, str(field.type)) for field in schema] == [
        ("v", "int64"),
        ("year", "int64"),
        ("code", "string"),
    ]


def test_a_partition_key_that_is_also_a_column_is_refused(tmp_path):
    pq.write_table(pa.table({"Year": [1]}), tmp_path / "a.parquet")
    reason, message = refusal(Dataset((pinned(tmp_path / "a.parquet", year="2024"),)))
    assert reason == "AmbiguousColumn"
    assert "'year'" in message


@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [
        (DataFormat.PARQUET, "a.parquet", b""),
        (DataFormat.PARQUET, "a.parquet", b"PAR1" + b"x" * 100 + b"PAR1"),
        (DataFormat.PARQUET, "a.parquet", b"id,x\n1,2\n" * 10),
        (DataFormat.CSV, "a.csv.gz", b"a,b\n1,2\n"),
        (DataFormat.JSON_LINES, "a.jsonl.zst", b'{"a": 1}\n'),
        (DataFormat.CSV, "a.csv", "a,b\n1,2\n".encode("utf-16")),
        (DataFormat.JSON_LINES, "a.jsonl", b"\xfe\xff" + '{"a": 1}\n'.encode("utf-16-be")),
        (DataFormat.JSON_LINES, "a.jsonl", b'[{"a": 1}, {"a": 2}]'),
        (DataFormat.JSON_LINES, "a.jsonl", b'{\n  "a": 1\n}\n'),
        (DataFormat.JSON_LINES, "a.jsonl", b'\xef\xbb\xbf\n [\n{"a": 1},\n{"a": 2}\n]\n'),
        (DataFormat.JSON_LINES, "a.jsonl", b'[\r\n\t\t{\r\n\t\t\t"a": 1\r\n\t\t}\r\n]\r\n'),
        (DataFormat.JSON_LINES, "a.jsonl", b'[{"a": 1}]\n[{"a": 2}]\n'),
        (DataFormat.JSON_LINES, "a.jsonl", b'[["a"],\n[1],\n[2]]\n'),
        (DataFormat.JSON_LINES, "a.jsonl.gz", gzip.compress(b'[{"a": 1},\n{"a": 2}]', mtime=0)),
        (DataFormat.CSV, "a.csv", b"PK\x03\x04" + bytes(30)),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused_by_name(tmp_path, kind, name, body):
    reason, message = refusal(Dataset((pinned(write_text(tmp_path / name, body)),), kind))
    assert reason == "InputCorrupt"
    assert name in message


@pytest.mark.parametrize("kind", [DataFormat.CSV, DataFormat.JSON_LINES])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("bzip2", bz2.compress(b'{"a": 1}\n')),
        ("xz", lzma.compress(b'{"a": 1}\n')),
        ("LZ4", bytes(pa.compress(b'{"a": 1}\n', "lz4"))),
        ("7-Zip", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24)),
    ],
    ids=["bzip2", "xz", "lz4", "7z"],
)
def test_a_compression_that_is_not_read_is_named(tmp_path, kind, name, body):
    reason, message = refusal(Dataset((pinned(write_text(tmp_path / "a", body)),), kind))
    assert reason == "InputCorrupt"
    assert f"{name} " in message
    assert "gzip or zstd" in message


def zstd_frame(header, text=b'{"a": 1}\n'):
    """A frame of one block, which is not compressed (RFC 8878)."""
    block = (len(text) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + header + block + text


@pytest.mark.parametrize("kind", [DataFormat.CSV, DataFormat.JSON_LINES])
@pytest.mark.parametrize(
    "header",
    [b"\x00\x90", b"\x00\x89", b"\xa0\x02\x00\x00\x08", b"\xe1\x07\0\0\0\0\1\0\0\0"],
    ids=["--long=28", "a little above", "as long as its text", "with a dictionary"],
)
def test_a_zstd_window_above_128_mib_is_refused_by_name(tmp_path, kind, header):
    file = write_text(tmp_path / "a.zst", zstd_frame(header))
    reason, message = refusal(Dataset((pinned(file),), kind))
    assert reason == "InputCorrupt"
    assert "a.zst' is compressed with a zstd window above 128 MiB" in message
    assert "--long=27" in message


@pytest.mark.parametrize("header", [b"\x00\x88", b"\x20\x09"], ids=["--long=27", "short text"])
def test_a_zstd_window_of_128_mib_or_less_is_read(tmp_path, header):
    file = write_text(tmp_path / "a.zst", zstd_frame(header))
    assert Dataset((pinned(file),), DataFormat.JSON_LINES).inspect().schema.names == ["a"]


@pytest.mark.parametrize("kind", [DataFormat.CSV, DataFormat.JSON_LINES])
def test_files_of_which_nothing_can_be_read_are_refused_for_their_damage(tmp_path, kind):
    body = bytes(pa.compress(b'{"a": 1}\n' * 50, "zstd"))[:-5]
    reason, message = refusal(Dataset((pinned(write_text(tmp_path / "a.zst", body)),), kind))
    assert reason == "InputCorrupt"
    assert "a.zst' is compressed and damaged before the end of its first row" in message


def open_together(files):
    """Open files only when as many as there are have been asked for, as nothing waits its turn."""
    opened = threading.Barrier(len(files), timeout=5)

    def open_file(file):
        opened.wait()
        return open_local(file)

    return open_file


def test_files_that_may_be_damaged_are_looked_at_side_by_side(tmp_path):
    file = pinned(write_text(tmp_path / "a.gz", gzip.compress(b"")))
    refuse_damaged((file,) * 8, open_together((file,) * 8))


def test_files_that_may_have_no_row_are_looked_at_side_by_side(tmp_path):
    files = (pinned(write_text(tmp_path / "a.csv", b"a,b\n")),) * 8
    data = Dataset(files, DataFormat.CSV, open_file=open_together(files))
    assert [str(field.type) for field in data.inspect().schema] == ["null", "null"]


def test_thousands_of_tiny_files_are_inspected(tmp_path):
    pq.write_table(table_of(1), tmp_path / "a.parquet")
    file = pinned(tmp_path / "a.parquet")
    found = Dataset((file,) * 2000).inspect()
    assert [inventory.units[0].rows for inventory in found.inventories] == [1] * 2000
