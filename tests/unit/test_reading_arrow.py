"""Arrow IPC: file and stream format, slices of large batches, damaged batches."""

from __future__ import annotations

import re
import resource
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_api.choices import DataFormat
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats import arrow_files
from batch_inference_runner.score.computing import ComputingThreads
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

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


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


def test_headers_are_read_again_for_a_damaged_batch_only(tmp_path, dataset, monkeypatch):
    read = []
    count = arrow_files.batch_rows

    def batch_rows(source, ordinals=None):
        read.append(ordinals)
        return count(source, ordinals)

    monkeypatch.setattr(arrow_files, "batch_rows", batch_rows)
    dataset(write(tmp_path / "a.arrow", table_of(1000), batch_rows=300)).read()
    assert read == [None]
    dataset(write_damaged(tmp_path / "b.arrow", column="a")).read()
    assert read == [None, None, range(3)]


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
    path = tmp_path / "a.arrow"
    table = pa.table({"name": [f"{i:03}" for i in range(900)]})
    write(path, table, batch_rows=300, stream=stream)
    body = bytearray(path.read_bytes())
    offsets = struct.pack("<301i", *range(0, 903, 3))
    second = body.index(offsets, body.index(offsets) + 1)
    body[second + 400 : second + 404] = struct.pack("<i", 2**30)
    path.write_bytes(body)
    chunks = dataset(pinned(path)).read()
    assert rejected(chunks) == [(row, "CorruptRecordBatch") for row in range(300, 600)]
    assert positions_of(chunks) == [*range(300), *range(600, 900)]


def write_damaged(path, *, column, stream=False):
    """Three batches of 300 rows of columns a and b, one of which the second cannot decompress."""
    random = Random(0)
    table = pa.table({name: [random.randbytes(8) for _ in range(900)] for name in "ab"})
    write(path, table, batch_rows=300, compression="zstd", stream=stream)
    body = path.read_bytes()
    buffers = [at.start() for at in re.finditer(re.escape(ZSTD_MAGIC), body)]
    assert len(buffers) == 12  # in each batch offsets and values of a, then those of b
    at = buffers[{"a": 5, "b": 7}[column]]
    path.write_bytes(body[:at] + b"\0\0\0\0" + body[at + 4 :])
    return pinned(path)


@pytest.mark.parametrize("column", ["a", "b"])
def test_a_batch_that_cannot_be_decompressed_loses_its_rows_only(tmp_path, dataset, column):
    chunks = dataset(write_damaged(tmp_path / "a.arrow", column=column)).read()
    assert rejected(chunks) == [(row, "CorruptRecordBatch") for row in range(300, 600)]
    assert positions_of(chunks) == [*range(300), *range(600, 900)]


@pytest.mark.parametrize("column", ["a", "b"])
def test_a_stream_with_such_a_batch_keeps_the_rows_before_it(tmp_path, dataset, column):
    chunks = dataset(write_damaged(tmp_path / "a.arrow", column=column, stream=True)).read()
    assert rejected(chunks) == [(row, "CorruptRecordBatch") for row in range(300, 900)]
    assert positions_of(chunks) == [*range(300)]


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_batches_without_rows_count_none(tmp_path, dataset, stream):
    path = tmp_path / "a.arrow"
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    batch = pa.record_batch({"id": [1, 2]})
    with opened(str(path), batch.schema) as writer:
        for each in (batch.slice(2), batch, batch.slice(2)):
            writer.write_batch(each)
    found = dataset(pinned(path)).inspect()
    assert [unit.rows for unit in found.inventories[0].units] == ([2] if stream else [0, 2, 0])


def test_no_thread_outlives_a_reader_that_runs_out_of_memory(tmp_path, monkeypatch):
    """Left to the garbage collector it is waited for by whichever thread collects, even itself."""
    file = write(tmp_path / "a.arrow", table_of(6), batch_rows=1)
    get = arrow_files._Batches.get

    def get_first(self, ordinal):
        if ordinal:
            raise pa.ArrowMemoryError("malloc of size 4096 failed")
        return get(self, ordinal)

    monkeypatch.setattr(arrow_files._Batches, "get", get_first)
    with pytest.raises(MemoryError) as raised:
        Dataset((file,), DataFormat.ARROW, open_file=open_remote).read()
    assert raised.value.__traceback__ is not None  # which holds what its frames hold
    assert [thread.name for thread in threading.enumerate() if "fetch" in thread.name] == []


INTERVALS = {b"\0": "month_interval", b"\1": "day_time_interval"}


def write_with_interval(path, kind, name):
    """A file of id and i, an interval that pyarrow itself can neither write nor name."""
    values = pa.array([(1, 2, 3)] * 9, pa.month_day_nano_interval())
    write(path, pa.table({"id": range(9), "i": values}), batch_rows=9)
    body = path.read_bytes()
    for at in reversed([match.start() for match in re.finditer(b"\2", body)]):
        path.write_bytes(body[:at] + kind + body[at + 1 :])
        with suppress(pa.ArrowException, OSError):
            if str(pa.ipc.open_file(str(path)).schema.field("i").type) == name:
                return pinned(path)
    raise AssertionError("the unit of the interval is not where it was")


@pytest.mark.parametrize(("kind", "name"), INTERVALS.items(), ids=INTERVALS.values())
def test_an_interval_that_pyarrow_cannot_hold_is_refused_where_it_is_needed(
    tmp_path, dataset, kind, name
):
    data = dataset(write_with_interval(tmp_path / "a.arrow", kind, name))
    assert rows_of(data.read(["id"])) == [{"id": i} for i in range(9)]
    with pytest.raises(InvalidJob, match=f"column 'i' is {name}.*another type") as refused:
        data.read()
    assert refused.value.reason == "SchemaMismatch"


@contextmanager
def limited_memory(more_bytes=1 << 30):
    """Let allocations fail, as a scorer's do, before they take the memory of the whole machine."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    used = int(re.search(r"^VmData:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + more_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def test_a_length_that_is_damaged_does_not_take_the_memory_of_the_machine(tmp_path):
    """What a buffer will hold once it is decompressed is in its first eight bytes."""
    table = pa.table({"v": pa.array([b"x" * 1000] * 9)})
    path = tmp_path / "a.arrow"
    write(path, table, batch_rows=9, compression="zstd")
    length = struct.pack("<q", 9000)
    body = path.read_bytes()
    path.write_bytes(body.replace(length + ZSTD_MAGIC, struct.pack("<q", 1 << 36) + ZSTD_MAGIC))
    data = Dataset((pinned(path),), DataFormat.ARROW)
    found = data.inspect()
    with limited_memory():
        with pytest.raises(MemoryError):
            data.read(inspection=found)
        chunks = data.read(inspection=found, frugal=True)
    assert rejected(chunks) == [(row, "OutOfMemory") for row in range(9)]
    (lost,) = chunks[0].unreadable
    assert lost.message == "record batch 0 needs more memory than the scorer has"


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_damage_anywhere_is_refused_or_rejected(tmp_path_factory, at, garbage):
    path = tmp_path_factory.mktemp("damage") / "a.arrow"
    write(path, table_of(20).select(["id", "x"]), batch_rows=7, compression="zstd")
    body = bytearray(path.read_bytes())
    at %= len(body)
    body[at : at + len(garbage)] = garbage
    path.write_bytes(body)
    with suppress(InvalidJob, MemoryError), limited_memory():  # a size can be damaged, too
        chunks = Dataset((pinned(path),), DataFormat.ARROW, open_file=open_remote).read()
        places = positions_of(chunks) + [place for place, _ in rejected(chunks)]
        assert sorted(places) == list(range(len(places)))


def test_a_stream_behind_which_more_follows_is_refused_and_not_cut_short(tmp_path, dataset):
    path = tmp_path / "a.arrows"
    stream = write(path, table_of(20), batch_rows=7, stream=True)
    assert len(rows_of(dataset(stream).read(["id"]))) == 20
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InvalidJob, match=r"a\.arrows' goes on behind the end .* file of its own"):
        dataset(pinned(path)).read(["id"])


@pytest.mark.parametrize("body", [b"", b"ARROW1\0\0garbage", b"FEA1....", b"\xff" * 40])
def test_what_is_not_arrow_is_refused_by_name(tmp_path, dataset, body):
    path = tmp_path / "a.arrow"
    path.write_bytes(body)
    with pytest.raises(InvalidJob, match=r"a\.arrow.*not a readable Arrow file") as refused:
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


def test_a_decoder_that_loops_ahead_of_its_reader_is_overdue(tmp_path, monkeypatch):
    """Batches of a store are decoded by a thread of their own, for one that only waits."""
    computing, seen = ComputingThreads(0.2), threading.Event()
    file = write(tmp_path / "a.arrow", table_of(4), batch_rows=1)
    dataset = Dataset((file,), DataFormat.ARROW, open_file=open_remote, watched=computing.watched)
    get = arrow_files._Batches.get

    def get_in_the_end(self, ordinal):
        began = time.thread_time()
        while not seen.is_set() and time.thread_time() - began < 3:
            sum(range(1000))
        return get(self, ordinal)

    monkeypatch.setattr(arrow_files._Batches, "get", get_in_the_end)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(dataset.read)
        while not reading.done() and not seen.wait(0.02):
            if computing.overdue() == {0}:
                seen.set()
    assert seen.is_set()
    assert rows_of(reading.result()) == table_of(4).to_pylist()
    assert computing.overdue() == set()
