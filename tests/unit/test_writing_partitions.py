"""Output folders by value, and giving up."""

from __future__ import annotations

import datetime as dt
import io
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.layout import part_stem, stage_key
from batch_inference_runner.errors import InvalidJob, JobFailed
from batch_inference_runner.formats.output_partitions import folder_name
from batch_inference_runner.formats.writing import DatasetWriter
from batch_inference_runner.storage.folder import Folder
from testkit.memory_sinks import MemorySink, MemorySinks

WORK = "0" * 64


def write(*tables, by, data_format=DataFormat.PARQUET):
    sinks = MemorySinks()
    writer = DatasetWriter(
        sinks, stem="p", schema=tables[0].schema, format=data_format, compression="none",
        partition_by=by,
    )  # fmt: skip
    for table in tables:
        writer.write(table)
    files = writer.finish()
    assert set(sinks.opened) == {file.path for file in files}
    return {
        file.path: pq.read_table(io.BytesIO(sinks.opened[file.path].body)).to_pydict()
        for file in files
    }


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.sampled_from(["a", "b", "é/"]), st.none() | st.integers(0, 2)),
        min_size=1,
        max_size=30,
    )
)
def test_every_row_is_in_exactly_one_folder_and_in_order(keys):
    table = pa.table(
        {
            "s": pa.array([key[0] for key in keys], pa.string()),
            "id": range(len(keys)),
            "n": pa.array([key[1] for key in keys], pa.int16()),
        }
    )
    half = len(keys) // 2
    files = write(table.slice(0, half), table.slice(half), by=("s", "n"))
    expected = {}
    for row, (text, number) in enumerate(keys):
        digits = None if number is None else str(number)
        path = f"{folder_name('s', text)}/{folder_name('n', digits)}/p.parquet"
        expected.setdefault(path, {"id": []})["id"].append(row)
    assert files == expected


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        (None, "k=__HIVE_DEFAULT_PARTITION__"),
        ("", "k=__HIVE_DEFAULT_PARTITION__"),
        ("a/b=c%", "k=a%2Fb%3Dc%25"),
        ("..", "k=.."),
        ("zoë x", "k=zoë x"),
        ("\n", "k=%0A"),
    ],
)
def test_a_value_becomes_the_name_of_a_folder(value, folder):
    assert folder_name("k", value) == folder


@pytest.mark.parametrize(
    ("array", "folder"),
    [
        (pa.array([True]), "k=true"),
        (pa.array([dt.date(2024, 2, 29)]), "k=2024-02-29"),
        (pa.array(["x"]).dictionary_encode(), "k=x"),
        (pa.array([2**64 - 1], pa.uint64()), "k=18446744073709551615"),
        (pa.array([None], pa.null()), "k=__HIVE_DEFAULT_PARTITION__"),
    ],
)
def test_types_that_name_folders(array, folder):
    assert list(write(pa.table({"k": array, "x": [1]}), by=("k",))) == [f"{folder}/p.parquet"]


def test_no_rows_give_no_files_with_partitions():
    assert write(pa.table({"k": pa.array([], pa.string()), "x": []}), by=("k",)) == {}


def test_a_float_cannot_name_folders():
    with pytest.raises(InvalidJob, match="'k'"):
        write(pa.table({"k": [1.5], "x": [1]}), by=("k",))


def test_a_partition_column_must_exist():
    with pytest.raises(InvalidJob, match="'country'"):
        write(pa.table({"k": [1]}), by=("country",))


def test_some_column_must_remain():
    with pytest.raises(InvalidJob, match="every output column"):
        write(pa.table({"k": [1]}), by=("k",))


def test_a_partition_column_must_not_name_hidden_folders():
    with pytest.raises(InvalidJob, match=r"'\.k'.* hidden .* without a dot") as refused:
        write(pa.table({".k": ["a"], "x": [1]}), by=(".k",))
    assert refused.value.reason is Reason.SCHEMA_MISMATCH


def test_too_many_partitions_fail_with_advice():
    table = pa.table({"k": range(1025), "x": range(1025)})
    with pytest.raises(JobFailed, match="fewer values") as raised:
        write(table, by=("k",))
    assert raised.value.reason is Reason.INVALID_SPEC
    assert "use another one for either, or give it up with `bij gc OUTPUT --release`" in str(
        raised.value
    )


def test_the_longest_folder_name_can_be_staged(tmp_path):
    path = f"{folder_name('k', 'x' * 253)}/{part_stem(42, WORK)}.parquet"
    sink = Folder(tmp_path).open_sink(stage_key(WORK, 42, "a" * 16, path))
    sink.write(b"x")
    assert sink.commit().size == 1


def test_files_of_several_partitions_are_committed_side_by_side():
    """One after the other they would take a second for every thirty files on a usual store."""
    others = threading.Barrier(3)

    class MeetingSink(MemorySink):
        def commit(self):
            others.wait(10)
            return super().commit()

    table = pa.table({"k": ["b", "a", "c", "a"], "x": [1, 2, 3, 4]})
    writer = DatasetWriter(
        MeetingSink, stem="p", schema=table.schema, format=DataFormat.CSV, compression="none",
        partition_by=("k",),
    )  # fmt: skip
    writer.write(table)
    files = writer.finish()
    assert [(file.path, file.written.key, file.rows) for file in files] == [
        (f"k={key}/p.csv", f"k={key}/p.csv", rows) for key, rows in (("a", 2), ("b", 1), ("c", 1))
    ]


@pytest.mark.parametrize("data_format", list(DataFormat))
def test_giving_up_leaves_nothing(data_format):
    sinks = MemorySinks()
    table = pa.table({"k": ["a", "b"], "x": [1, 2]})
    writer = DatasetWriter(
        sinks, stem="p", schema=table.schema, format=data_format, compression="zstd",
        partition_by=("k",),
    )  # fmt: skip
    writer.write(table)
    writer.abort()
    writer.abort()
    del writer
    assert len(sinks.opened) == 2
    for sink in sinks.opened.values():
        assert sink.aborted
        assert sink.body is None
        assert sink.tell() == 0
