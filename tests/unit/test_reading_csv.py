"""CSV: rows and their byte offsets, bad rows among good ones, types, nulls, cuts."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_api.choices import DataFormat, NewlinesInValues
from batch_inference_api.runner_contract import CsvOptions
from batch_inference_runner.formats.csv_rows import CsvDialect, row_ends
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
    def make(*texts, target_bytes=1 << 28, suffix=".csv", **options):
        files = [
            pinned(write_text(tmp_path / f"{i}{suffix}", text)) for i, text in enumerate(texts)
        ]
        return Dataset(
            tuple(files),
            DataFormat.CSV,
            CsvOptions(**options),
            open_file=request.param,
            target_bytes=target_bytes,
        )

    return make


HEADER = "id,x,name\n"
GOOD = [f"{i},{i / 2},nämé {i}\n" for i in range(100)]
GOOD_ROWS = [{"id": i, "x": i / 2, "name": f"nämé {i}"} for i in range(100)]


def test_rows_come_in_order_with_their_byte_offsets(dataset):
    chunks = dataset(HEADER + "".join(GOOD)).read()
    assert rows_of(chunks) == GOOD_ROWS
    offsets = [len(HEADER)]
    for line in GOOD[:-1]:
        offsets.append(offsets[-1] + len(line.encode()))
    assert positions_of(chunks) == offsets


TYPES = pa.schema({"id": pa.int64(), "x": pa.float64(), "name": pa.string()})


def typed(data):
    """The inspection of `data`, with types that good rows have."""
    return data.inspect()._replace(schema=TYPES)


BAD_ROWS = {
    "too few values": (b"1,2\n", "InvalidCsvRow"),
    "too many values": (b"1,2,a,b\n", "InvalidCsvRow"),
    "only spaces": (b"   \n", "InvalidCsvRow"),
    "a CR alone": (b"1,2,a\rb\n", "InvalidCsvRow"),
    "a quote closed too early": (b'1,2,"a"b\n', "InvalidCsvRow"),
    "invalid UTF-8": (b"1,2,\xff\n", "InvalidUtf8"),
    "text for a whole number": (b"one,2,a\n", "TypeMismatch"),
    "a fraction for a whole number": (b"1.5,2,a\n", "TypeMismatch"),
    "above int64": (b"9223372036854775808,2,a\n", "TypeMismatch"),
    "above int64 in hexadecimal": (b"0xFFFFFFFFFFFFFFFF,2,a\n", "TypeMismatch"),
    "2**63 in hexadecimal": (b"0X8000000000000000,2,a\n", "TypeMismatch"),
    "text for a number": (b"1,abc,a\n", "TypeMismatch"),
    "NaN as C writes it": (b"1,nan(1),a\n", "TypeMismatch"),
    "negative NaN as C writes it": (b"1,-NaN(x),a\n", "TypeMismatch"),
    "above float64": (b"1,1e400,a\n", "TypeMismatch"),
    "below float64": (b"1,-1.5E309,a\n", "TypeMismatch"),
    "more digits than float64 has": (b"1,1" + b"0" * 309 + b",a\n", "TypeMismatch"),
    "a number with an underscore": (b"1,1_000,a\n", "TypeMismatch"),
    "quotes and too few values": (b'"1","2\n3"\n', "InvalidCsvRow"),
}


@pytest.mark.parametrize(("row", "error"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
@pytest.mark.parametrize("place", [0, 50, 100], ids=["first", "middle", "last"])
def test_a_bad_row_is_rejected_and_its_neighbours_are_read(dataset, row, error, place):
    before, after = "".join([HEADER, *GOOD[:place]]).encode(), "".join(GOOD[place:]).encode()
    data = dataset(before + row + after)
    chunks = data.read(inspection=typed(data))
    assert rejected(chunks) == [(len(before), error)]
    assert rows_of(chunks) == GOOD_ROWS


FINE_ROWS = {
    "quoted newlines": (b'7,8,"a\nb\r\nc"\n', {"id": 7, "x": 8.0, "name": "a\nb\r\nc"}),
    "doubled quotes": (b'"7","8","a""b"\n', {"id": 7, "x": 8.0, "name": 'a"b'}),
    "a quote inside of a value": (b'7,8,5" pipe\n', {"id": 7, "x": 8.0, "name": '5" pipe'}),
    "empty values are null": (b",,\n", {"id": None, "x": None, "name": None}),
    "quoted empty text is empty text": (b'7,"",""\n', {"id": 7, "x": None, "name": ""}),
    "words for null, in numbers only": (b"NA,NULL,NA\n", {"id": None, "x": None, "name": "NA"}),
    "CRLF": (b"7,8,a\r\n", {"id": 7, "x": 8.0, "name": "a"}),
    "spaces around numbers": (b" 7 ,8 , a\n", {"id": 7, "x": 8.0, "name": " a"}),
    "7.0 for a whole number": (b"7.0,8,a\n", {"id": 7, "x": 8.0, "name": "a"}),
    "infinity": (b"7,-inf,a\n", {"id": 7, "x": float("-inf"), "name": "a"}),
    "the largest number": (b"7,1.7e308,a\n", {"id": 7, "x": 1.7e308, "name": "a"}),
    "a number that is rounded to zero": (b"7,1e-400,a\n", {"id": 7, "x": 0.0, "name": "a"}),
    "the largest hexadecimal": (
        b"0x007FFFFFFFFFFFFFFF,8,a\n",
        {"id": 2**63 - 1, "x": 8.0, "name": "a"},
    ),
    "hexadecimal": (b"0x10,8,a\n", {"id": 16, "x": 8.0, "name": "a"}),
}


@pytest.mark.parametrize(("text", "row"), FINE_ROWS.values(), ids=FINE_ROWS.keys())
@pytest.mark.parametrize("place", [0, 50, 100], ids=["first", "middle", "last"])
@pytest.mark.parametrize("beside", ["good rows", "bad rows"])
def test_a_good_row_is_the_same_beside_any_other(dataset, text, row, place, beside):
    extra = b"" if beside == "good rows" else b"bad\nxx,yy,\xff\nxx,5,a\n"
    before, after = "".join([HEADER, *GOOD[:place]]).encode(), "".join(GOOD[place:]).encode()
    data = dataset(before + text + extra + after)
    chunks = data.read(inspection=typed(data))
    assert rows_of(chunks) == [*GOOD_ROWS[:place], row, *GOOD_ROWS[place:]]
    assert positions_of(chunks)[place] == len(before)
    assert len(rejected(chunks)) == (0 if beside == "good rows" else 3)


@pytest.mark.parametrize("beside", ["5,5,a\n", "NA,NA,a\n", "-5,nan,a\n", "5,Infinity,a\n"])
@pytest.mark.parametrize("row", ["0xFFFFFFFFFFFFFFFF,1,b\n", "1,nan(1),b\n", "1,1e400,b\n"])
def test_a_bad_value_is_rejected_beside_any_other(dataset, row, beside):
    data = dataset(HEADER + beside + row)
    chunks = data.read(inspection=typed(data))
    assert rejected(chunks) == [(len(HEADER + beside), "TypeMismatch")]
    assert len(rows_of(chunks)) == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1,2.5", "as many values as there are columns"),
        ("1,2.5,a,b", "as many values as there are columns"),
        ('1,2.5,"a \\" b"', "a quote inside a quoted value must be doubled"),
        ("1,2.5,a\rb", "a CR, outside of quotes"),
    ],
)
def test_a_row_is_told_what_is_wrong_with_it(dataset, row, says):
    (chunk,) = dataset(f"{HEADER}{GOOD[0]}{row}\n{GOOD[1]}").read()
    (rows,) = chunk.unreadable
    assert (rows.error, chunk.table.num_rows) == ("InvalidCsvRow", 2)
    assert says in rows.message


def test_an_unclosed_quote_is_one_row_up_to_the_end_of_the_file(dataset):
    before = HEADER + "".join(GOOD[:50])
    chunks = dataset(before + '1,2,"open\n' + "".join(GOOD[50:])).read()
    assert rejected(chunks) == [(len(before.encode()), "UnclosedQuote")]
    assert rows_of(chunks) == GOOD_ROWS[:50]


def test_an_unclosed_quote_is_one_line_where_values_hold_no_newlines(dataset):
    before = HEADER + "".join(GOOD[:50])
    data = dataset(
        before + '1,2,"open\n' + "".join(GOOD[50:]), newlines_in_values=NewlinesInValues.NEVER
    )
    chunks = data.read()
    assert rejected(chunks) == [(len(before.encode()), "UnclosedQuote")]
    assert rows_of(chunks) == GOOD_ROWS


def test_an_unclosed_quote_beyond_16_mib_is_not_held_in_memory(dataset):
    long = '1,2,"' + "x,\n" * (6 << 20)
    chunks = dataset(HEADER + GOOD[0] + long + '"\n' + GOOD[1] + long).read()
    assert [error for _, error in rejected(chunks)] == ["RowTooLong", "RowTooLong"]
    assert rows_of(chunks) == GOOD_ROWS[:2]


def test_blank_lines_are_no_rows(dataset):
    chunks = dataset("\n\r\na,b\n\n1,2\n\r\n\n3,4\n\n").read()
    assert rows_of(chunks) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert rejected(chunks) == []


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b", "\ufeffa,b\r\n"])
def test_a_file_without_rows_gives_none(dataset, text):
    data = dataset(text, "a,b\n1,2\n")
    assert rows_of(data.read()) == [{"a": 1, "b": 2}]


def test_a_byte_order_mark_is_skipped(dataset):
    chunks = dataset("\ufeffa,b\n1,2\n").read()
    assert rows_of(chunks) == [{"a": 1, "b": 2}]
    assert positions_of(chunks) == [7]


def test_without_a_header_columns_are_numbered(dataset):
    chunks = dataset("1,x\n2,y\n", "3,z\n", header=False).read()
    assert rows_of(chunks) == [{"f0": 1, "f1": "x"}, {"f0": 2, "f1": "y"}, {"f0": 3, "f1": "z"}]


def test_other_delimiters_split(dataset):
    assert rows_of(dataset('a;b\n1;"x;y"\n', delimiter=";").read()) == [{"a": 1, "b": "x;y"}]


def test_columns_may_come_in_another_order_in_another_file(dataset):
    assert rows_of(dataset("a,b\n1,2\n", "b,a\n3,4\n").read()) == [
        {"a": 1, "b": 2},
        {"a": 4, "b": 3},
    ]


def test_no_columns_still_count_the_rows(dataset):
    chunks = dataset(HEADER + "".join(GOOD)).read([])
    assert sum(chunk.table.num_rows for chunk in chunks) == 100


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", ""], "int64"),
        (["1", "2.5", "1e3"], "double"),
        (["nan", "inf", "1"], "double"),
        (["true", "False"], "bool"),
        (["007", "12"], "string"),
        (["2024-01-01", "2024-01-02"], "string"),
        (["", ""], "string"),
        (["1"] * 19 + ["oops"], "int64"),
        (["1"] * 19 + ["007"], "string"),
        (["1"] * 19 + ["2.5"], "double"),
        (["1"] * 8 + ["a", "b"], "string"),
        (["0", "1"], "int64"),
        (["1234567890123456789", "-9223372036854775808"], "int64"),
        (["1"] * 19 + ["9223372036854775808"], "int64"),
        (["1", "9223372036854775808"], "string"),
        (["1"] * 9 + ["9223372036854775808"], "int64"),
        (["1"] * 8 + ["9223372036854775808", "a"], "string"),
        (["9" * 5000], "string"),
        (["1.5", "9223372036854775808"], "double"),
    ],
)
def test_types_are_inferred(dataset, values, kind):
    data = dataset("k,v\n" + "".join(f"0,{value}\n" for value in values))
    assert str(data.inspect().schema.field("v").type) == kind


def test_files_that_only_have_a_header_leave_the_types_to_the_others(dataset):
    headers = ["k,v\n", "k,v", "\ufeffk,v\r\n"] * 20
    assert str(dataset(*headers).inspect().schema.field("v").type) == "null"
    data = dataset(*headers[:30], "k,v\n1,2.5\n", *headers[30:])
    assert rows_of(data.read()) == [{"k": 1, "v": 2.5}]


def test_a_row_behind_everything_that_was_looked_at_is_read_as_text(dataset):
    data = dataset("k,v\n" + "\n" * 5_000_000 + "1,2.5\n")
    assert rows_of(data.read()) == [{"k": "1", "v": "2.5"}]


def test_a_last_row_without_a_newline_counts_for_the_types(dataset):
    assert str(dataset("k,v\n0,2.5").inspect().schema.field("v").type) == "double"
    assert rows_of(dataset("k,v\n0,1\n1,2.5").read())[1] == {"k": 1, "v": 2.5}


def test_a_first_row_without_a_header_may_be_any_text(dataset):
    text = "a" * 200_000
    assert rows_of(dataset(f"1,{text}\n", header=False).read()) == [{"f0": 1, "f1": text}]


@pytest.mark.parametrize("target_bytes", [1, 4, 100])
@pytest.mark.parametrize("header", [True, False])
def test_blank_lines_before_the_header_do_not_hide_it(dataset, target_bytes, header):
    text = "\n" * 20 + "k,v\n1,2\n3,4\n"
    data = dataset(text, target_bytes=target_bytes, header=header)
    found = data.inspect()
    parts = [data.read(inspection=found, shard=s) for s in shard_per_unit(found.inventories)]
    rows = [tuple(row.values()) for part in parts for row in rows_of(part)]
    assert rows == ([(1, 2), (3, 4)] if header else [("k", "v"), ("1", "2"), ("3", "4")])


def test_messages_name_the_column_and_never_the_value(dataset):
    chunks = dataset(HEADER + "".join(GOOD) + "1,secret,a\n").read()
    (message,) = [rows.message for chunk in chunks for rows in chunk.unreadable]
    assert "'x'" in message
    assert "secret" not in message


def test_a_truncated_gzip_keeps_the_rows_before_the_damage_and_says_so(dataset):
    text = HEADER + "".join(f"{i},{i * 7919 % 1000},name {i}\n" for i in range(5000))
    chunks = dataset(gzip.compress(text.encode())[:-30], suffix=".csv.gz").read()
    assert [error for _, error in rejected(chunks)] == ["TruncatedInput"]
    ids = [row["id"] for row in rows_of(chunks)]
    assert ids == list(range(len(ids)))
    assert len(ids) > 4000


@pytest.mark.parametrize("rows", [5, 50_000])
def test_a_zstd_file_is_read_behind_its_header(dataset, rows):
    """The header and the rows are two streams over one open file."""
    text = "id,x\n" + "".join(f"{i},{i / 2}\n" for i in range(rows))
    data = dataset(bytes(pa.compress(text.encode(), "zstd")), suffix=".csv.zst")
    assert rows_of(data.read()) == [{"id": i, "x": i / 2} for i in range(rows)]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='a,"\n\r', max_size=40))
def test_regular_text_is_split_as_the_value_by_value_scan_does(text):
    from batch_inference_runner.formats import csv_rows

    body = text.encode()
    view = np.frombuffer(body, np.uint8)
    quotes = np.flatnonzero(view == ord('"'))
    if csv_rows.quotes_are_regular(view, quotes, CsvDialect()):
        expected = csv_rows._scanned_ends(body, CsvDialect())
        assert row_ends(body, CsvDialect()).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,b\n1,"x"\n', True),
        ('a,b\n1,"x\n2,y"\n', True),
        ('1,"x""y"\r\n', True),
        ('1,5" pipe\n', True),
        ('1,5" pipe,"x"\n', True),
        ('1,"x"y\n', False),
        ('1,"north\n2,"south"\n', False),
        ('1,"x" \n', False),
    ],
)
def test_text_behind_a_closing_quote_is_not_well_quoted(text, expected):
    from batch_inference_runner.formats.csv_rows import is_well_quoted

    assert is_well_quoted(text.encode(), CsvDialect()) is expected


def test_an_open_quote_before_a_quoted_value_swallows_no_row_unseen(tmp_path):
    body = "".join(f'{i},"r{i}"\n' for i in range(40, 45))
    path = write_text(tmp_path / "a.csv", 'id,region\n39,"north\n' + body)
    data = Dataset((pinned(path),), DataFormat.CSV)
    chunks = data.read()
    assert [row["id"] for row in rows_of(chunks)] == [41, 42, 43, 44]
    assert rejected(chunks) == [(10, "InvalidCsvRow")]
