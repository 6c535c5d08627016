"""Arrow IPC: file and stream format, slices of large batches, damaged batches."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_runner.errors import InvalidJob
from testkit.datasets import (
    Dataset,
    open_local,
    open_remote,
    pinned,
    positions_of,
    rejected,
    rows_of,
    shard_per_unit,
    table_of,
)


def write(path, table, *, batch_rows, stream=False, compression=None):
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with opened(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return pinned(path)


@pytest.fixture(params=[open_local, open_remote], ids=["mapped", "by ranges"])
def dataset(request):
    def make(*files):
        return Dataset(files, DataFormat.ARROW, open_file=request.param)

    return make


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_rows_come_in_order_with_their_row_numbers(tmp_path, dataset, stream, compression):
    table = table_of(1000).append_column(
        "kind", pa.array([f"k{i % 3}" for i in range(1000)]).dictionary_encode()
    )
    file = write(
        tmp_path / "a.arrow", table, batch_rows=300, stream=stream, compression=compression
    )
    chunks = dataset(file).read(["kind", "x", "id"])
    assert rows_of(chunks) == table.select(["kind", "x", "id"]).to_pylist()
    assert positions_of(chunks) == list(range(1000))
    assert chunks[0].table.schema.field("kind").type == pa.string()


def test_a_file_is_cut_at_record_batches(tmp_path, dataset):
    table = table_of(1000)
    data = dataset(write(tmp_path / "a.arrow", table, batch_rows=300))
    found = data.inspect()
    parts = [
        data.read(inspection=found, shard=shard) for shard in shard_per_unit(found.inventories)
    ]
    assert [positions_of(part)[0] for part in parts] == [0, 300, 600, 900]
    assert [row for part in parts for row in rows_of(part)] == table.to_pylist()


def test_a_large_batch_is_sliced(tmp_path, dataset):
    table = table_of(200_000).select(["id"])
    chunks = dataset(write(tmp_path / "a.arrow", table, batch_rows=200_000)).read()
    assert [chunk.table.num_rows for chunk in chunks] == [131_072, 68_928]
    assert [chunk.positions.first for chunk in chunks] == [0, 131_072]


def test_no_columns_still_count_the_rows(tmp_path, dataset):
    chunks = dataset(write(tmp_path / "a.arrow", table_of(10), batch_rows=5)).read([])
    assert [(chunk.table.num_rows, chunk.table.num_columns) for chunk in chunks] == [(5, 0), (5, 0)]


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_a_corrupt_batch_loses_its_rows_only(tmp_path, dataset, stream):
    names = pa.array([f"täst {i}" for i in range(900)])
    path = tmp_path / "a.arrow"
    write(path, pa.table({"name": names}), batch_rows=300, stream=stream)
    body = path.read_bytes()
    at = body.index("täst 450".encode())
    path.write_bytes(body[: at + 1] + b"\xff" + body[at + 2 :])
    chunks = dataset(pinned(path)).read()
    assert rejected(chunks) == [(row, "CorruptRecordBatch") for row in range(300, 600)]
    assert positions_of(chunks) == [*range(300), *range(600, 900)]


@pytest.mark.parametrize("body", [b"", b"ARROW1\0\0garbage", b"FEA1....", b"\xff" * 40])
def test_what_is_not_arrow_is_refused_by_name(tmp_path, dataset, body):
    path = tmp_path / "a.arrow"
    path.write_bytes(body)
    with pytest.raises(InvalidJob, match=r"a\.arrow.*not a readable Arrow IPC") as refused:
        dataset(pinned(path)).inspect()
    assert refused.value.reason == "InputCorrupt"


def test_an_unregistered_extension_type_comes_as_its_storage(tmp_path, dataset):
    field = pa.field(
        "v",
        pa.int64(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": b"cos\nsystem\n(S'false'\ntR.",
        },
    )
    table = pa.Table.from_arrays([pa.array([1, 2])], schema=pa.schema([field]))
    chunks = dataset(write(tmp_path / "a.arrow", table, batch_rows=2)).read()
    assert rows_of(chunks) == [{"v": 1}, {"v": 2}]
    assert chunks[0].table.schema.field("v").metadata is None


def test_run_ends_are_decoded_wherever_they_are(tmp_path, dataset):
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([3, 4], pa.int32()), pa.array(["a", None]))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 1, 4, 4]), runs)
    structs = pa.StructArray.from_arrays([runs, lists], ["x", "y"])
    table = pa.table({"runs": runs, "lists": lists, "structs": structs})
    data = dataset(write(tmp_path / "a.arrow", table, batch_rows=3))
    chunks = data.read()
    assert rejected(chunks) == []
    assert rows_of(chunks) == table.to_pylist()
    assert rows_of(data.read(["structs.y"])) == [{"structs.y": row} for row in lists.to_pylist()]
