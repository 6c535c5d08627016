"""JSON Lines: exactly the bad lines are rejected, at their byte offset, whatever is beside them."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_api.choices import DataFormat
from batch_inference_runner.formats import json_lines
from batch_inference_runner.formats.json_values import BadLine, conform, parse_line
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


@pytest.fixture(params=[open_local, open_remote], ids=["mapped", "by ranges"])
def dataset(request, tmp_path):
    def make(*texts, target_bytes=1 << 28, suffix=".jsonl"):
        files = [
            pinned(write_text(tmp_path / f"{i}{suffix}", text)) for i, text in enumerate(texts)
        ]
        return Dataset(
            tuple(files),
            DataFormat.JSON_LINES,
            open_file=request.param,
            target_bytes=target_bytes,
        )

    return make


def good(i: int) -> str:
    return json.dumps({"id": i, "x": i / 2, "name": f"nämé {i}", "v": [i, 0.5]}) + "\n"


GOOD = [good(i) for i in range(100)]


def test_rows_come_in_order_with_their_byte_offsets(dataset):
    data = dataset("".join(GOOD))
    chunks = data.read()
    assert rows_of(chunks) == [json.loads(line) for line in GOOD]
    offsets = [0]
    for line in GOOD[:-1]:
        offsets.append(offsets[-1] + len(line.encode()))
    assert positions_of(chunks) == offsets
    assert [str(field.type) for field in data.inspect().schema] == [
        "int64",
        "double",
        "string",
        "list<item: double>",
    ]


TYPES = pa.schema(
    {"id": pa.int64(), "x": pa.float64(), "name": pa.string(), "v": pa.list_(pa.float64())}
)


def typed(data):
    """The inspection of `data`, with types that good lines have."""
    return data.inspect()._replace(schema=TYPES)


BAD_LINES = {
    "cut off": (b'{"id": 1, "x"', "InvalidJson"),
    "two objects": (b'{"id": 1} {"id": 2}', "InvalidJson"),
    "an array": (b"[1, 2]", "InvalidJson"),
    "single quotes": (b"{'id': 1}", "InvalidJson"),
    "trailing comma": (b'{"id": 1,}', "InvalidJson"),
    "leading zero": (b'{"id": 01}', "InvalidJson"),
    "too large for float64": (b'{"x": 1e999}', "InvalidJson"),
    "a short infinity": (b'{"x": Inf}', "InvalidJson"),
    "a short infinity in a list": (b'{"v": [1, -Inf , 2]}', "InvalidJson"),
    "a short infinity in a column nobody reads": (b'{"other":Inf,"x":1}', "InvalidJson"),
    "a negative NaN": (b'{"x": -NaN\t}', "InvalidJson"),
    "invalid UTF-8": (b'{"name": "\xff"}', "InvalidUtf8"),
    "invalid UTF-8 in a column nobody reads": (b'{"other": "\xff"}', "InvalidUtf8"),
    "half a surrogate pair": (b'{"name": "\\ud800"}', "InvalidJson"),
    "control character in a string": (b'{"name": "a\tb"}', "InvalidJson"),
    "text for a number": (b'{"x": "1.5"}', "TypeMismatch"),
    "number for text": (b'{"name": 5}', "TypeMismatch"),
    "boolean for a number": (b'{"x": true}', "TypeMismatch"),
    "fraction for a whole number": (b'{"id": 1.5}', "TypeMismatch"),
    "whole number above int64": (b'{"id": 9223372036854775808}', "TypeMismatch"),
    "object for a list": (b'{"v": {"a": 1}}', "TypeMismatch"),
    "text in a list": (b'{"v": [1, "a"]}', "TypeMismatch"),
    "the same key twice": (b'{"id": 1, "id": 2}', "DuplicateKey"),
    "nested too deeply": (b"[" * 200_000, "InvalidJson"),
    "nested too deeply in an object": (b'{"a":' * 70 + b"1" + b"}" * 70, "InvalidJson"),
    "nested behind brackets in strings": (
        b'{"a":' + (b"[" * 60 + b'"' + b"]" * 60 + b'",') * 30,
        "InvalidJson",
    ),
    "opened on one line": (b'{"id": {', "InvalidJson"),
    "closed on the next": (b"}}", "InvalidJson"),
    "a byte order mark inside": (b'\xef\xbb\xbf{"id": 1}', "InvalidJson"),
}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "after a byte order mark"])
@pytest.mark.parametrize(
    "line", ["[2024-01-01] rotated", "[1, 2]", "[]", '["id", "x"]', "[[1, 2]]", "[{main}] up"]
)
def test_a_first_line_that_only_begins_as_an_array_is_one_rejected_row(dataset, line, mark):
    chunks = dataset(f"{mark}{line}\n" + '{"a": 1}\n' * 3).read()
    assert [error for _, error in rejected(chunks)] == ["InvalidJson"]
    assert rows_of(chunks) == [{"a": 1}] * 3


@pytest.mark.parametrize(("line", "error"), BAD_LINES.values(), ids=BAD_LINES.keys())
@pytest.mark.parametrize("place", [1, 50, 100], ids=["second", "middle", "last"])
def test_a_bad_line_is_rejected_and_its_neighbours_are_read(dataset, line, error, place):
    before, after = "".join(GOOD[:place]).encode(), "".join(GOOD[place:]).encode()
    data = dataset(before + line + b"\n" + after)
    chunks = data.read(["id", "x", "name", "v"], inspection=typed(data))
    assert rejected(chunks) == [(len(before), error)]
    assert rows_of(chunks) == [json.loads(row) for row in GOOD]


FINE_LINES = {
    "missing keys": (b"{}", {"id": None, "x": None, "name": None, "v": None}),
    "nulls": (b'{"id": null, "v": [null]}', {"id": None, "x": None, "name": None, "v": [None]}),
    "more keys": (b'{"id": 1, "z": {"z": 1}}', {"id": 1, "x": None, "name": None, "v": None}),
    "a whole number written as 2.0": (
        b'{"id": 2.0}',
        {"id": 2, "x": None, "name": None, "v": None},
    ),
    "infinity": (b'{"x": -Infinity}', {"id": None, "x": float("-inf"), "name": None, "v": None}),
    "short infinities in text": (
        b'{"name": "Inf, -NaN, [Inf]"}',
        {"id": None, "x": None, "name": "Inf, -NaN, [Inf]", "v": None},
    ),
    "spaces around": (b'  {"id": 1}  ', {"id": 1, "x": None, "name": None, "v": None}),
    "a NUL": (b'{"name": "a\\u0000b"}', {"id": None, "x": None, "name": "a\0b", "v": None}),
    "a CR at its end": (b'{"id": 1}\r', {"id": 1, "x": None, "name": None, "v": None}),
    "another key twice": (
        b'{"id": 1, "z": 1, "z": 2}',
        {"id": 1, "x": None, "name": None, "v": None},
    ),
}


@pytest.mark.parametrize(("line", "row"), FINE_LINES.values(), ids=FINE_LINES.keys())
@pytest.mark.parametrize("beside", ["good lines", "bad lines"])
def test_a_good_line_is_the_same_row_beside_any_other(dataset, line, row, beside):
    filler = "".join(GOOD[:50]).encode() + (b"" if beside == "good lines" else b"{\n")
    data = dataset(filler + line + b"\n")
    chunks = data.read(["id", "x", "name", "v"], inspection=typed(data))
    assert rows_of(chunks)[-1] == row


def test_nan_stays_nan(dataset):
    value = rows_of(dataset('{"x": 1.5}\n{"x": NaN}\n').read())[1]["x"]
    assert value != value


@pytest.mark.parametrize("beside", ["", "{\n"], ids=["alone", "beside a bad line"])
@pytest.mark.parametrize(
    ("kind", "zero"),
    [(pa.float64(), "-0.0"), (pa.int64(), "0"), (pa.list_(pa.float64()), "[-0.0, 0.0]")],
    ids=str,
)
def test_a_negative_zero_keeps_its_sign_where_numbers_have_one(dataset, beside, kind, zero):
    text = "[-0, 0]" if pa.types.is_list(kind) else "-0"
    data = dataset(f'{beside}{{"x": {text}}}\n')
    found = data.inspect()._replace(schema=pa.schema({"x": kind}))
    assert [str(row["x"]) for row in rows_of(data.read(["x"], inspection=found))] == [zero]


def test_a_negative_zero_is_a_whole_number_for_the_types(dataset):
    assert dataset('{"x": -0}\n{"x": 7}').inspect().schema.field("x").type == pa.int64()


def test_blank_lines_are_no_rows(dataset):
    chunks = dataset('\n{"a": 1}\n\n   \n\r\n' + " " * 40 + '\n{"a": 2}').read()
    assert rows_of(chunks) == [{"a": 1}, {"a": 2}]
    assert rejected(chunks) == []


def test_a_byte_order_mark_is_skipped(dataset):
    chunks = dataset(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n').read()
    assert rows_of(chunks) == [{"a": 1}, {"a": 2}]
    assert positions_of(chunks) == [3, 12]


def test_an_empty_file_has_no_units(dataset):
    data = dataset("", '{"a": 1}\n')
    assert data.inspect().inventories[0].units == ()
    assert rows_of(data.read()) == [{"a": 1}]


def test_keys_of_all_files_are_columns(dataset):
    assert rows_of(dataset('{"a": 1}\n', '{"b": "x"}\n').read()) == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "9223372036854775808"], "uint64"),
        (["18446744073709551615", "null"], "uint64"),
        (["1.5", "9223372036854775808"], "double"),
        (["-1", "1", "9223372036854775808"], "double"),
        (["[1]", "[18446744073709551615]"], "list<item: uint64>"),
        (["[1]", "[-2]"], "list<item: int64>"),
        (["18446744073709551616"], "double"),
    ],
)
def test_whole_numbers_beyond_int64_keep_every_digit(dataset, values, kind):
    data = dataset("".join(f'{{"v": {value}}}\n' for value in values))
    assert str(data.inspect().schema.field("v").type) == kind
    if kind == "uint64":
        assert [row["v"] for row in rows_of(data.read())] == [json.loads(text) for text in values]


def test_a_number_that_is_not_of_uint64_is_rejected(dataset):
    lines = ['{"v": 9223372036854775808}\n', '{"v": true}\n']
    chunks = dataset("".join(lines)).read()
    assert [row["v"] for row in rows_of(chunks)] == [2**63]
    assert rejected(chunks) == [(len(lines[0]), "TypeMismatch")]


def test_a_last_line_without_a_newline_counts_for_the_types(dataset):
    data = dataset('{"v": 1}\n{"v": 2.5}')
    assert [row["v"] for row in rows_of(data.read())] == [1.0, 2.5]


def test_an_outlier_does_not_decide_the_type(dataset):
    lines = [json.dumps({"x": 1.5})] * 9 + [json.dumps({"x": "n/a"})]
    chunks = dataset("\n".join(lines)).read()
    assert len(rows_of(chunks)) == 9
    assert [error for _, error in rejected(chunks)] == ["TypeMismatch"]


def test_a_matrix_row_is_read_whole_blocks_at_once(dataset, monkeypatch):
    lines = [json.dumps({"m": [[j, 1.5] for j in range(100)], "s": "[[["}) for _ in range(50)]
    monkeypatch.setattr(json_lines._Lines, "singly", lambda *_: pytest.fail("the slow way"))
    assert rows_of(dataset("\n".join(lines)).read()) == [json.loads(line) for line in lines]


def test_a_row_above_16_mib_is_rejected_and_not_held(dataset):
    long = '{"a": "' + "x" * (17 << 20) + '"}\n'
    chunks = dataset('{"a": "1"}\n' + long + '{"a": "2"}\n' + long).read()
    assert rejected(chunks) == [(11, "RowTooLong"), (11 + len(long) + 11, "RowTooLong")]
    assert rows_of(chunks) == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (['"a"', "3"], "column 'v' is a number, not string"),
        (["1", "0.5", "2"], "column 'v' is a number out of range or with a fraction, not int64"),
    ],
)
def test_a_number_that_does_not_fit_is_told_for_what_it_is(dataset, values, says):
    data = dataset("".join(f'{{"v": {value}}}\n' for value in values))
    kind = pa.string() if says.endswith("string") else pa.int64()
    (chunk,) = data.read(inspection=data.inspect()._replace(schema=pa.schema({"v": kind})))
    assert [rows.message for rows in chunk.unreadable] == [says]


def test_messages_never_quote_the_line(dataset):
    chunks = dataset("".join(GOOD) + '{"name": 123454321}\n{"secret-value\n').read()
    messages = [rows.message for chunk in chunks for rows in chunk.unreadable]
    assert len(messages) == 2
    assert not any("123454321" in message or "secret" in message for message in messages)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_truncated_gzip_keeps_the_rows_before_the_damage_and_says_so(dataset, cut):
    text = "".join(good(i) for i in range(5000)).encode()
    data = dataset(gzip.compress(text)[:-cut], suffix=".jsonl.gz")
    chunks = data.read()
    assert [error for _, error in rejected(chunks)] == ["TruncatedInput"]
    read = rows_of(chunks)
    assert read == [json.loads(good(i)) for i in range(len(read))]
    assert len(read) > 4000


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_files_are_one_unit_with_uncompressed_offsets(dataset, compression):
    text = "".join(GOOD).encode()
    body = gzip.compress(text) if compression == "gzip" else bytes(pa.compress(text, "zstd"))
    suffix = ".jsonl.gz" if compression == "gzip" else ".jsonl.zst"
    data = dataset(body * 2, suffix=suffix, target_bytes=100)
    assert len(data.inspect().inventories[0].units) == 1
    chunks = data.read()
    assert rows_of(chunks) == [json.loads(line) for line in GOOD] * 2
    assert positions_of(chunks)[100] == len(text)


def test_a_zstd_file_may_begin_with_a_frame_to_be_skipped(dataset):
    """So pzstd writes it."""
    frame = bytes(pa.compress("".join(GOOD).encode(), "zstd"))
    skipped = (0x184D2A5F).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"size"
    chunks = dataset(skipped + frame + skipped + frame, suffix=".jsonl.zst").read()
    assert rows_of(chunks) == [json.loads(line) for line in GOOD] * 2


def test_a_return_inside_of_a_line_does_not_end_it_for_the_types(dataset):
    chunks = dataset('{"a": 1,\r"b": "x"}\r\n').read()
    assert rows_of(chunks) == [{"a": 1, "b": "x"}]


def test_a_truncated_zstd_says_so(dataset):
    body = bytes(pa.compress("".join(good(i) for i in range(5000)).encode(), "zstd"))
    chunks = dataset(body[:-9], suffix=".jsonl.zst").read()
    assert [error for _, error in rejected(chunks)] == ["TruncatedInput"]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.lists(st.floats(allow_nan=False), max_size=3),
)
KINDS = [pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.bool_(), pa.list_(pa.float64())]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("ab"), VALUES), max_size=12), st.sampled_from(KINDS)
)
def test_whole_blocks_and_single_lines_agree(rows, kind):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    wanted = pa.schema([("a", kind)])
    expected, bad = [], []
    position = 0
    for line in text.splitlines(keepends=True):
        try:
            expected.append(conform(parse_line(line), {"a": kind}))
        except BadLine:
            bad.append(position)
        position += len(line)
    ends = json_lines.line_ends(text)
    starts = [0, *ends[:-1].tolist()] if len(ends) else []
    import numpy as np

    block = json_lines.TextBlock(text, 0, np.array(starts, np.int64), ends)
    for few in (1, 8):
        original, json_lines._FEW_LINES = json_lines._FEW_LINES, few
        try:
            part = json_lines._joined(list(json_lines._decode(block, wanted)))
        finally:
            json_lines._FEW_LINES = original
        assert (part.table.to_pylist() if part else []) == expected
        assert [place for place, _ in (part.bad if part else ())] == bad


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(alphabet='ab{}[]",\\\ré\u2028', max_size=12), max_size=30),
    st.integers(1, 80),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_cut_gives_the_same_rows(tmp_path_factory, values, target, newline):
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    write_text(path, newline.join(json.dumps({"a": value}) for value in values))
    data = Dataset((pinned(path),), DataFormat.JSON_LINES, target_bytes=target)
    found = data.inspect()
    units = found.inventories[0].units
    assert [unit.start for unit in units[1:]] == [unit.stop for unit in units[:-1]]
    assert sum(unit.stop - unit.start for unit in units) == path.stat().st_size
    if not values:
        return
    parts = [data.read(["a"], inspection=found, shard=s) for s in shard_per_unit(found.inventories)]
    assert [row["a"] for part in parts for row in rows_of(part)] == values
    assert [offset for part in parts for offset in positions_of(part)] == positions_of(
        data.read(["a"], inspection=found)
    )
