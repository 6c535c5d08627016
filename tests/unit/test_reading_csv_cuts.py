"""CSV files are cut into shards anywhere between rows, and give the same rows as uncut."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch_inference_api.choices import DataFormat, NewlinesInValues
from batch_inference_api.runner_contract import CsvOptions
from testkit.datasets import (
    Dataset,
    open_local,
    open_remote,
    pinned,
    positions_of,
    rejected,
    rows_of,
    shard_per_unit,
    write_text,
)


@pytest.mark.parametrize("policy", NewlinesInValues)
def test_whether_values_hold_newlines_decides_which_files_are_cut(tmp_path, policy):
    rows = [
        {"a": i, "b": "one\nrow" if policy != NewlinesInValues.NEVER else "x"} for i in range(90)
    ]
    text = "a,b\n" + "".join(f'{row["a"]},"{row["b"]}"\n' for row in rows)
    path = pinned(write_text(tmp_path / "a.csv", text))
    for open_file in (open_local, open_remote):
        data = Dataset(
            (path,), DataFormat.CSV, CsvOptions(newlines_in_values=policy), open_file, 100
        )
        found = data.inspect()
        shards = shard_per_unit(found.inventories)
        is_whole = open_file is open_remote and policy == NewlinesInValues.AUTO
        assert (len(shards) == 1) is is_whole
        parts = [data.read(inspection=found, shard=shard) for shard in shards]
        assert [row for part in parts for row in rows_of(part)] == rows


TEXT = st.text(alphabet='ab,"\n\ré ', max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(TEXT, TEXT), max_size=25),
    st.integers(1, 60),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_cut_gives_the_same_rows(tmp_path_factory, rows, target, newline):
    path = tmp_path_factory.mktemp("cut") / "a.csv"
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=newline)
    writer.writerows([("a", "b"), *rows])
    write_text(path, out.getvalue())
    data = Dataset((pinned(path),), DataFormat.CSV, target_bytes=target)
    found = data.inspect()
    units = found.inventories[0].units
    assert [unit.start for unit in units[1:]] == [unit.stop for unit in units[:-1]]
    assert sum(unit.stop - unit.start for unit in units) == path.stat().st_size
    found = type(found)(pa.schema({"a": pa.string(), "b": pa.string()}), found.inventories)
    parts = [data.read(inspection=found, shard=s) for s in shard_per_unit(found.inventories)]
    assert [tuple(row.values()) for part in parts for row in rows_of(part)] == rows
    assert not any(rejected(part) for part in parts)


@settings(max_examples=300, deadline=None)
@example(text="a\r,\n\r\r\n", target=1)
@given(text=st.text(alphabet='a,"\n\r', max_size=40), target=st.integers(1, 30))
def test_any_text_gives_each_row_once_whatever_the_cut(tmp_path_factory, text, target):
    good = "x,y\n"  # without a row of two values the header would be refused
    path = write_text(tmp_path_factory.mktemp("any") / "a.csv", "a,b\n" + good + text)
    whole = Dataset((pinned(path),), DataFormat.CSV)
    schema = pa.schema({"a": pa.string(), "b": pa.string()})
    at_once = type(whole.inspect())(schema, whole.inspect().inventories)
    expected = whole.read(inspection=at_once)
    data = Dataset((pinned(path),), DataFormat.CSV, target_bytes=target)
    found = type(at_once)(schema, data.inspect().inventories)
    parts = [data.read(inspection=found, shard=s) for s in shard_per_unit(found.inventories)]
    assert [row for part in parts for row in rows_of(part)] == rows_of(expected)
    assert [p for part in parts for p in positions_of(part)] == positions_of(expected)
    both = sorted(positions_of(expected) + [p for p, _ in rejected(expected)])
    assert both == sorted(set(both))
