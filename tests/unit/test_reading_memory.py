"""Intact files, decoded while there is too little memory: no row is called corrupt for that."""

from __future__ import annotations

import json
import weakref
from contextlib import closing

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.feather as pf
import pyarrow.json as pj
import pyarrow.parquet as pq
import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_runner.formats import arrow_files, foreign_file
from batch_inference_runner.formats.inspection import Inspection
from batch_inference_runner.formats.reading import ShardReader, open_reader
from batch_inference_runner.rows import CHUNK_ROWS
from testkit.datasets import Dataset, RemoteFile, pinned, positions_of, rejected, table_of, whole

ROWS = 900


def fail(*_args, **_kwargs):
    raise pa.ArrowMemoryError("malloc of size 4096 failed")


def parquet_without_memory(monkeypatch):
    """The second of three row groups cannot be decoded."""
    read = pq.ParquetFile.read_row_group

    def read_row_group(self, ordinal, **options):
        return fail() if ordinal == 1 else read(self, ordinal, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)


def arrow_without_memory(monkeypatch):
    """The second of three batches cannot be decoded; its rows can be counted."""
    get = arrow_files._Batches.get

    def get_unless_second(self, ordinal):
        counting = len(self._reader.schema) == 1
        return fail() if ordinal == 1 and not counting else get(self, ordinal)

    monkeypatch.setattr(arrow_files._Batches, "get", get_unless_second)


WITHOUT_MEMORY = {
    DataFormat.PARQUET: parquet_without_memory,
    DataFormat.ARROW: arrow_without_memory,
    DataFormat.CSV: lambda monkeypatch: monkeypatch.setattr(pv, "read_csv", fail),
    DataFormat.JSON_LINES: lambda monkeypatch: monkeypatch.setattr(pj, "read_json", fail),
}


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of three row groups or batches in a format."""

    def make(name: DataFormat, *, rows: int = ROWS) -> Dataset:
        path, table = tmp_path / "a", table_of(rows).select(["id", "name"])
        match name:
            case DataFormat.PARQUET:
                pq.write_table(table, path, row_group_size=rows // 3)
            case DataFormat.ARROW:
                pf.write_feather(table, path, chunksize=rows // 3)
            case DataFormat.CSV:
                pv.write_csv(table, path)
            case DataFormat.JSON_LINES:
                path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
        return Dataset((pinned(path),), name)

    return make


def opened(dataset: Dataset, found: Inspection) -> ShardReader:
    return open_reader(
        dataset.format,
        files=dataset.files,
        open_file=dataset.open_file,
        schema=found.schema,
        columns=found.schema.names,
        csv=dataset.csv,
    )


def read(dataset: Dataset, monkeypatch, **how):
    found = dataset.inspect()
    WITHOUT_MEMORY[dataset.format](monkeypatch)
    with closing(opened(dataset, found)) as reader:
        return list(reader.chunks(whole(found.inventories), **how))


@pytest.mark.parametrize("name", WITHOUT_MEMORY)
def test_no_row_is_unreadable_for_want_of_memory_that_others_use_too(name, dataset, monkeypatch):
    with pytest.raises(MemoryError):
        read(dataset(name), monkeypatch)


@pytest.mark.parametrize("name", [DataFormat.PARQUET, DataFormat.ARROW])
def test_what_needs_more_than_all_of_the_memory_is_unreadable_and_nothing_else(
    name, dataset, monkeypatch
):
    chunks = read(dataset(name), monkeypatch, frugal=True)

    lost = range(ROWS // 3, 2 * ROWS // 3)
    assert rejected(chunks) == [(row, "OutOfMemory") for row in lost]
    assert positions_of(chunks) == [row for row in range(ROWS) if row not in lost]
    assert all("more memory" in rows.message for chunk in chunks for rows in chunk.unreadable)


@pytest.mark.parametrize("name", [DataFormat.PARQUET, DataFormat.ARROW])
def test_rows_that_need_too_much_memory_are_rejected_a_few_at_a_time(name, dataset, monkeypatch):
    rows = 150_000
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fail)
    chunks = read(dataset(name, rows=3 * rows), monkeypatch, frugal=True)

    lost = [len(part.positions) for chunk in chunks for part in chunk.unreadable]
    assert max(lost) == CHUNK_ROWS
    assert [position for position, _ in rejected(chunks)][:rows] == [
        *(range(rows) if name is DataFormat.PARQUET else range(rows, 2 * rows))
    ]
    assert sum(lost) + sum(chunk.table.num_rows for chunk in chunks) == 3 * rows


def test_rows_behind_too_large_a_batch_of_a_stream_are_not_rejected_with_it(tmp_path, monkeypatch):
    path, table = tmp_path / "a", table_of(ROWS).select(["id", "name"])
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=ROWS // 3)
    stream = Dataset((pinned(path),), DataFormat.ARROW)
    with pytest.raises(MemoryError):
        read(stream, monkeypatch, frugal=True)


class CountedFile(RemoteFile):
    """Counts bytes that it gave: all of them, and those in memory before each fetch."""

    bodies: list[weakref.ref]
    given: int
    beside: list[int]

    def read_at(self, offset: int, length: int) -> memoryview:
        self.beside.append(self.held())
        body = super().read_at(offset, length)
        self.bodies.append(weakref.ref(body))
        CountedFile.given += length
        return body

    @classmethod
    def held(cls) -> int:
        return sum(len(body) for ref in cls.bodies if (body := ref()) is not None)

    @classmethod
    def forget(cls) -> None:
        cls.bodies, cls.given, cls.beside = [], 0, []


def open_counted(file):
    return CountedFile(file.uri.removeprefix("file://"), size=file.size, version=file.version)


@pytest.mark.parametrize("name", [DataFormat.PARQUET, DataFormat.ARROW])
def test_where_memory_is_short_one_part_at_a_time_is_fetched(name, dataset, monkeypatch):
    monkeypatch.setattr(foreign_file, "_WINDOW_BYTES", 1)
    CountedFile.forget()
    data = dataset(name, rows=60_000)
    data.open_file = open_counted
    found = data.inspect()
    part = data.files[0].size / 3
    with closing(opened(data, found)) as reader:
        CountedFile.forget()
        chunks = reader.chunks(whole(found.inventories), frugal=True)
        next(chunks)
        assert CountedFile.given < 1.5 * part
        assert sum(chunk.table.num_rows for chunk in chunks) >= 40_000
    assert CountedFile.given > 2.7 * part
    assert max(CountedFile.beside) < 0.9 * part


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_an_arrow_batch_is_gone_before_the_next_is_decoded(tmp_path, monkeypatch, stream):
    path, table = tmp_path / "a", table_of(ROWS)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=ROWS // 3)
    data, batches, alive = Dataset((pinned(path),), DataFormat.ARROW), [], []
    found, get = data.inspect(), arrow_files._Batches.get

    def counting_get(self, ordinal):
        alive.append(sum(batch() is not None for batch in batches))
        batch = get(self, ordinal)
        batches.append(weakref.ref(batch))
        return batch

    monkeypatch.setattr(arrow_files._Batches, "get", counting_get)
    with closing(opened(data, found)) as reader:
        assert sum(c.table.num_rows for c in reader.chunks(whole(found.inventories))) == ROWS
    assert alive == [0] * (3 + stream)


def test_an_idle_file_holds_nothing_of_what_was_read(dataset):
    CountedFile.forget()
    data = dataset(DataFormat.PARQUET)
    data.open_file = open_counted
    found = data.inspect()
    with closing(opened(data, found)) as reader:
        assert sum(chunk.table.num_rows for chunk in reader.chunks(whole(found.inventories)))
        assert CountedFile.held() == 0
