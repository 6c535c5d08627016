"""Text that is not UTF-8 in formats that promise it: its row is lost, and no other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_runner.rows import CHUNK_ROWS
from testkit.datasets import Dataset, open_local, open_remote, pinned, positions_of, rejected

BAD = b"caf\xe9"
ROWS = 1000
LOST = [0, 1, 17, 500, 999]


def texts(rows: int, lost: list[int], kind: pa.DataType | None = None) -> pa.Array:
    """Text of some rows, all of it ASCII but for the lost ones; some are null."""
    values = [BAD if i in set(lost) else None if i % 7 == 3 else b"%d" % i for i in range(rows)]
    as_bytes = pa.array(values, {pa.large_string(): pa.large_binary()}.get(kind, pa.binary()))
    return as_bytes.view(kind or pa.string())


def pairs(values: pa.Array) -> pa.Array:
    """Lists of which row i holds its value, and that of the row before in front of it."""
    doubled = pa.concat_arrays([values, values]).take(
        pa.array([j for i in range(len(values)) for j in (max(i - 1, 0), i)])
    )
    return pa.ListArray.from_arrays(pa.array(range(0, 2 * len(values) + 1, 2), pa.int32()), doubled)


COLUMNS = {
    "string": texts(ROWS, LOST),
    "large string": texts(ROWS, LOST, pa.large_string()),
    "list": pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), texts(ROWS, LOST)),
    "large list": pa.LargeListArray.from_arrays(pa.array(range(ROWS + 1)), texts(ROWS, LOST)),
    "fixed list": pa.FixedSizeListArray.from_arrays(texts(ROWS, LOST), 1),
    "struct": pa.StructArray.from_arrays([texts(ROWS, LOST)], ["inner"]),
    "map": pa.MapArray.from_arrays(
        pa.array(range(ROWS + 1), pa.int32()), pa.array(["key"] * ROWS), texts(ROWS, LOST)
    ),
}


def write_parquet(path, table, *, batch_rows=ROWS):
    pq.write_table(table, path, row_group_size=batch_rows)


def write_arrow(path, table, *, batch_rows=ROWS):
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)


def write_stream(path, table, *, batch_rows=ROWS):
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)


@pytest.fixture(
    params=[
        (DataFormat.PARQUET, write_parquet),
        (DataFormat.ARROW, write_arrow),
        (DataFormat.ARROW, write_stream),
    ],
    ids=["Parquet", "Arrow file", "Arrow stream"],
)
def dataset(request, tmp_path):
    data_format, write = request.param

    def make(table, *, open_file=open_local, **options):
        write(tmp_path / "a", table, **options)
        return Dataset((pinned(tmp_path / "a"),), data_format, open_file=open_file)

    return make


def others(rows: int, lost: list[int]) -> list[int]:
    return sorted(set(range(rows)) - set(lost))


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_only_the_rows_with_such_text_are_lost(dataset, column):
    table = pa.table({"id": pa.array(range(ROWS)), "text": column})
    chunks = dataset(table).read(["text", "id"])
    assert rejected(chunks) == [(row, "InvalidUtf8") for row in LOST]
    assert positions_of(chunks) == others(ROWS, LOST)
    read = pa.concat_tables([chunk.table for chunk in chunks])
    read.validate(full=True)
    assert read.column("id").to_pylist() == others(ROWS, LOST)
    kept = table.column("text").take(np.array(others(ROWS, LOST)))
    assert read.column("text").to_pylist() == kept.cast(read.schema.field("text").type).to_pylist()


def test_so_it_is_in_arrow_dictionaries(tmp_path):
    """Of Parquet, pyarrow refuses to read such a column."""
    values = pa.array([b"even", BAD, b"odd"]).view(pa.string())
    indices = pa.array([1 if i in LOST else i % 2 * 2 for i in range(ROWS)], pa.int8())
    table = pa.table({"text": pa.DictionaryArray.from_arrays(indices, values)})
    write_arrow(tmp_path / "a", table)
    chunks = Dataset((pinned(tmp_path / "a"),), DataFormat.ARROW, open_file=open_local).read()
    assert rejected(chunks) == [(row, "InvalidUtf8") for row in LOST]
    assert positions_of(chunks) == others(ROWS, LOST)


@pytest.mark.parametrize("open_file", [open_local, open_remote], ids=["mapped", "by ranges"])
def test_rows_of_several_columns_and_batches_are_lost_together(dataset, open_file):
    table = pa.table({"a": texts(ROWS, [3, 299, 300]), "b": texts(ROWS, [3, 700, 999])})
    chunks = dataset(table, batch_rows=300, open_file=open_file).read()
    lost = [3, 299, 300, 700, 999]
    assert rejected(chunks) == [(row, "InvalidUtf8") for row in lost]
    assert positions_of(chunks) == others(ROWS, lost)


def test_a_column_that_nobody_needs_may_hold_any_bytes(dataset):
    table = pa.table({"id": pa.array(range(ROWS)), "text": texts(ROWS, LOST)})
    chunks = dataset(table).read(["id"])
    assert rejected(chunks) == []
    assert positions_of(chunks) == list(range(ROWS))


def test_neighbours_in_a_list_are_told_apart(dataset):
    chunks = dataset(pa.table({"pairs": pairs(texts(ROWS, [10]))})).read()
    assert rejected(chunks) == [(10, "InvalidUtf8"), (11, "InvalidUtf8")]


def test_all_rows_can_be_lost(dataset):
    chunks = dataset(pa.table({"text": texts(20, list(range(20)))})).read()
    assert rejected(chunks) == [(row, "InvalidUtf8") for row in range(20)]
    assert positions_of(chunks) == []


def test_a_batch_of_several_chunks_tells_each_lost_row_once(dataset):
    rows = CHUNK_ROWS + 1000
    lost = [5, CHUNK_ROWS - 1, CHUNK_ROWS, rows - 1]
    chunks = dataset(pa.table({"text": texts(rows, lost)}), batch_rows=rows).read()
    assert rejected(chunks) == [(row, "InvalidUtf8") for row in lost]
    assert positions_of(chunks) == others(rows, lost)
