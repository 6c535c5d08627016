"""Parquet: what is read, with which types, at which positions."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.rows import Chunk
from batch_inference_runner.storage.store import StoreError, VersionChanged
from testkit.datasets import (
    Dataset,
    RemoteFile,
    open_local,
    open_remote,
    pinned,
    positions_of,
    rejected,
    rows_of,
    shard_per_unit,
    table_of,
)


@pytest.fixture(params=[open_local, open_remote], ids=["mapped", "by ranges"])
def open_file(request):
    RemoteFile.requests, RemoteFile.fail_after = 0, None
    yield request.param
    RemoteFile.fail_after = None


def test_rows_come_in_order_with_their_row_numbers(tmp_path, open_file):
    table = table_of(1000)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    chunks = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read()
    assert rows_of(chunks) == table.to_pylist()
    assert positions_of(chunks) == list(range(1000))


def test_a_shard_of_one_row_group_knows_where_it_starts(tmp_path, open_file):
    table = table_of(1000)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    dataset = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file)
    found = dataset.inspect()
    shards = shard_per_unit(found.inventories)
    parts = [dataset.read(inspection=found, shard=shard) for shard in shards]
    assert [positions_of(part)[0] for part in parts] == [0, 300, 600, 900]
    assert [row for part in parts for row in rows_of(part)] == table.to_pylist()


def test_only_the_requested_columns_come_in_the_requested_order(tmp_path, open_file):
    pq.write_table(table_of(10), tmp_path / "a.parquet")
    (chunk,) = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read(["name", "id"])
    assert chunk.table.column_names == ["name", "id"]


def test_no_columns_still_count_the_rows(tmp_path, open_file):
    pq.write_table(table_of(10), tmp_path / "a.parquet")
    (chunk,) = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read([])
    assert (chunk.table.num_rows, chunk.table.num_columns) == (10, 0)


def test_a_large_row_group_is_read_in_slices_and_the_first_one_in_small_slices(tmp_path, open_file):
    pq.write_table(table_of(510_000).select(["id"]), tmp_path / "a.parquet", row_group_size=300_000)
    chunks = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read()
    first, second = chunks[:37], chunks[37:]
    assert [chunk.table.num_rows for chunk in first] == [8192] * 36 + [5088]
    assert [chunk.positions.first for chunk in first] == list(range(0, 300_000, 8192))
    assert [chunk.table.num_rows for chunk in second] == [131_072, 78_928]
    assert [chunk.positions.first for chunk in second] == [300_000, 431_072]


def test_the_first_chunk_has_the_same_columns_and_rows_as_the_others(tmp_path, open_file):
    """It is read a few columns at a time, all others all columns at once."""
    numbers = range(20_000)
    points = pa.array([{"x": n, "y": -n, "z": str(n)} for n in numbers])
    columns = {f"c{column}": [n * column for n in numbers] for column in range(9)}
    table = pa.table({"point": points, **columns})
    pq.write_table(table, tmp_path / "a.parquet")
    names = ["c8", "point.y", "c0", "c1", "c2", "point.z", "c3", "c7", "c4"]
    chunks = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read(names)
    assert [chunk.table.num_rows for chunk in chunks] == [8192, 8192, 3616]
    expected = [
        {
            name: {"y": -n, "z": str(n)}[name[-1]] if name.startswith("p") else n * int(name[1:])
            for name in names
        }
        for n in numbers
    ]
    assert rows_of(chunks) == expected


NESTED = pa.table(
    {
        "a": pa.array([{"b": 1, "c": {"d": "x"}}, None, {"b": None, "c": None}]),
        "vector": pa.array([[1.0, 2.0], None, []], pa.list_(pa.float32())),
        "übung": pa.array(["ä", "日本", None]),
    }
)


def test_a_field_of_a_struct_is_requested_by_its_path(tmp_path, open_file):
    pq.write_table(NESTED, tmp_path / "a.parquet")
    chunks = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read(
        ["a.c.d", "übung", "a.b", "vector"]
    )
    assert rows_of(chunks) == [
        {"a.c.d": "x", "übung": "ä", "a.b": 1, "vector": [1.0, 2.0]},
        {"a.c.d": None, "übung": "日本", "a.b": None, "vector": None},
        {"a.c.d": None, "übung": None, "a.b": None, "vector": []},
    ]


def test_a_column_named_with_a_dot_comes_before_the_field_of_a_struct(tmp_path, open_file):
    table = pa.table({"a": pa.array([{"b": 1}]), "a.b": pa.array(["top"])})
    pq.write_table(table, tmp_path / "a.parquet")
    chunks = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read(["a.b"])
    assert rows_of(chunks) == [{"a.b": "top"}]


@pytest.mark.parametrize(
    ("given", "planned"),
    [
        (pa.array(["x", "y"]).dictionary_encode(), pa.string()),
        (pa.array(["x", "y"], pa.large_string()), pa.string()),
        (pa.array(["x", "y"], pa.string_view()), pa.string()),
        (pa.array([[1], [2]], pa.large_list(pa.int32())), pa.list_(pa.int32())),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)), pa.list_(pa.float32(), 2)),
        (pa.array([1.5, None], pa.float16()), pa.float16()),
        (pa.array([1, None], pa.timestamp("us", tz="UTC")), pa.timestamp("us", tz="UTC")),
        (pa.array([1, 2], pa.decimal128(10, 2)), pa.decimal128(10, 2)),
        (pa.array([b"1" * 16, b"2" * 16], pa.uuid()), pa.binary(16)),
        (pa.array([["x"], ["y"]], pa.list_(pa.large_string())), pa.list_(pa.string())),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else str(value.type),
)
def test_types_are_normalised(tmp_path, open_file, given, planned):
    pq.write_table(pa.table({"v": given}), tmp_path / "a.parquet")
    (chunk,) = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file).read()
    assert chunk.table.schema.field("v").type == planned  # whatever items of lists are called
    assert chunk.table.num_rows == 2


@pytest.mark.parametrize("rows", [3, 12_000], ids=["at once", "with a first chunk"])
def test_int96_timestamps_of_any_year_are_read(tmp_path, open_file, rows):
    """In nanoseconds 9999-12-31, as Spark wrote an open end, would wrap around to 1816."""
    far = [dt.datetime(*day) for day in ((9999, 12, 31), (1, 1, 1), (2024, 2, 29, 1, 2, 3, 4))]  # noqa: DTZ001 - Parquet's have no zone
    times = pa.array((far * rows)[:rows], pa.timestamp("us"))
    table = pa.table({"t": times, "s": pa.StructArray.from_arrays([times], ["t"])})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    data = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file)
    assert data.inspect().schema.field("t").type == pa.timestamp("us")
    chunks = data.read()
    assert rows_of(chunks) == table.to_pylist()
    assert rejected(chunks) == []


@pytest.mark.parametrize("unit", ["us", "ns", "ms"])
@pytest.mark.parametrize("int96_first", [True, False], ids=["first", "last"])
def test_int96_timestamps_mix_with_those_in_microseconds_only(tmp_path, unit, int96_first):
    old, new = [dt.datetime(9999, 12, 31)], [dt.datetime(2024, 2, 29, 1, 2, 3)]  # noqa: DTZ001 - as above
    names = ["a.parquet", "b.parquet"] if int96_first else ["b.parquet", "a.parquet"]
    for name, times, kind in zip(names, (old, new), ("us", unit), strict=True):
        pq.write_table(
            pa.table({"t": pa.array(times, pa.timestamp(kind))}),
            tmp_path / name,
            use_deprecated_int96_timestamps=times is old,
        )
    data = Dataset((pinned(tmp_path / "a.parquet"), pinned(tmp_path / "b.parquet")))
    if unit == "us":
        both = [*old, *new] if int96_first else [*new, *old]
        assert [row["t"] for row in rows_of(data.read())] == both
        return
    with pytest.raises(
        InvalidJob, match=r"column 't' is timestamp\[\w+\] in .*a\.parquet"
    ) as refused:
        data.inspect()
    assert refused.value.reason == Reason.SCHEMA_MISMATCH
    for part in ("timestamp[us]", f"timestamp[{unit}]", "b.parquet"):
        assert part in refused.value.message


def test_numbers_take_the_widest_type_of_all_files(tmp_path, open_file):
    pq.write_table(pa.table({"v": pa.array([1], pa.int32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"v": pa.array([2**40], pa.int64())}), tmp_path / "b.parquet")
    files = (pinned(tmp_path / "a.parquet"), pinned(tmp_path / "b.parquet"))
    chunks = Dataset(files, open_file=open_file).read()
    assert {str(chunk.table.schema.field("v").type) for chunk in chunks} == {"int64"}
    assert rows_of(chunks) == [{"v": 1}, {"v": 2**40}]


def test_partition_values_become_columns(tmp_path, open_file):
    for name in ("a", "b"):
        pq.write_table(pa.table({"v": [1, 2]}), tmp_path / f"{name}.parquet")
    files = (
        pinned(tmp_path / "a.parquet", year="2024", country="DE"),
        pinned(tmp_path / "b.parquet", year="__HIVE_DEFAULT_PARTITION__", country="01"),
    )
    chunks = Dataset(files, open_file=open_file).read(["year", "v", "country"])
    assert rows_of(chunks) == [
        {"year": 2024, "v": 1, "country": "DE"},
        {"year": 2024, "v": 2, "country": "DE"},
        {"year": None, "v": 1, "country": "01"},
        {"year": None, "v": 2, "country": "01"},
    ]


def test_a_corrupt_row_group_loses_its_rows_only(tmp_path, open_file):
    path = tmp_path / "a.parquet"
    pq.write_table(
        table_of(1000), path, row_group_size=250, compression="none", write_page_checksum=True
    )
    column = pq.read_metadata(path).row_group(1).column(1)
    body = bytearray(path.read_bytes())
    start = column.data_page_offset + column.total_compressed_size - 50
    body[start : start + 10] = b"\xff" * 10
    path.write_bytes(body)
    chunks = Dataset((pinned(path),), open_file=open_file).read()
    assert rejected(chunks) == [(row, "CorruptRowGroup") for row in range(250, 500)]
    assert positions_of(chunks) == [*range(250), *range(500, 1000)]


def test_a_failed_fetch_is_not_taken_for_corruption(tmp_path):
    pq.write_table(table_of(1000), tmp_path / "a.parquet", row_group_size=100)
    dataset = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_remote)
    RemoteFile.requests, RemoteFile.fail_after = 0, None
    found = dataset.inspect()
    try:
        for allowed in range(6):
            RemoteFile.requests, RemoteFile.fail_after = 0, allowed
            with pytest.raises(StoreError):
                dataset.read(inspection=found)
    finally:
        RemoteFile.fail_after = None


def test_a_file_rewritten_while_it_is_read_is_refused(tmp_path, open_file):
    path = tmp_path / "a.parquet"
    pq.write_table(table_of(1000), path, row_group_size=100)
    dataset = Dataset((pinned(path),), open_file=open_file)
    found = dataset.inspect()
    pq.write_table(table_of(1000, seed=8), path, row_group_size=100)
    with pytest.raises(VersionChanged):
        dataset.read(inspection=found)


def test_zero_rows_give_no_rows(tmp_path, open_file):
    pq.write_table(table_of(0), tmp_path / "a.parquet")
    dataset = Dataset((pinned(tmp_path / "a.parquet"),), open_file=open_file)
    chunks: list[Chunk] = dataset.read()
    assert rows_of(chunks) == []
    assert dataset.inspect().schema.names == ["id", "x", "name"]
