"""The first row of a CSV file: no row is lost in a header, or by a first row that is none."""

from __future__ import annotations

import gzip

import pytest

from batch_inference_api.choices import DataFormat, NewlinesInValues
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import CsvOptions
from batch_inference_runner.errors import InvalidJob
from testkit.datasets import Dataset, pinned, rejected, rows_of, write_text


def csv_files(folder, *texts, **options) -> Dataset:
    files = [pinned(write_text(folder / f"{i}.csv", text)) for i, text in enumerate(texts)]
    return Dataset(tuple(files), DataFormat.CSV, CsvOptions(**options))


def refusal(dataset) -> str:
    """The message with which a header is refused."""
    with pytest.raises(InvalidJob) as refused:
        dataset.inspect()
    assert refused.value.reason == Reason.INPUT_CORRUPT
    assert refused.value.message.startswith("the header of ")
    return refused.value.message


OPEN = "opens a quote that is not closed before the end of the file"
BEHIND = "has text behind a closing quote"
RETURN = "a CR instead of LF: write the file with LF or CRLF"
BAD_HEADERS = {
    "a quote open to the end of the file": ('id,a,"t\n1,2,x\n3,4,y\n', OPEN),
    "a quote open to the next quote": ('id,a,"t\n1,2,"x"\n3,4,"y"\n', BEHIND),
    "text behind a closing quote": ('id,a,"t"x\n1,2,x\n', BEHIND),
    "another delimiter": ('"id";"a"\n1;2\n', "set spec.input.csv.delimiter"),
    "a line for spreadsheets": ("sep=;\nid;x\n1;2\n", "for spreadsheets only: remove it"),
    "a line for spreadsheets in quotes": (
        '"sep=,"\r\nid,x\r\n',
        "for spreadsheets only: remove it",
    ),
    "CR alone in all the file": ("id,a,t\r1,2,x\r3,4,y\r", RETURN),
    "CR alone behind the header": ("id,a,t\r1,2,x\n3,4,y\n", RETURN),
    "CR alone and quotes": ('"id","a"\r"1","2"\r', RETURN),
    "CR alone beside quotes in names": ('size",a\rb"\n1,2,3\n', RETURN),
    "CR before CRLF": ("id,a,t\r\r\n1,2,x\r\r\n", RETURN),
    "CR before the header": ("\rid,a,t\n1,2,x\n", RETURN),
    "a quote open behind a byte order mark": ('\ufeff"id,a,t\n1,2,x\n', OPEN),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(("text", "says"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_header_that_is_no_row_is_refused_by_name(tmp_path, text, says, compress):
    bad = compress(text.encode())
    for texts in ((bad,), ("id,a,t\n1,2,x\n", bad)):
        message = refusal(csv_files(tmp_path, *texts))
        assert f"{len(texts) - 1}.csv" in message
        assert says in message


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_header_that_is_not_utf8_is_refused_by_name(tmp_path, compress):
    latin = compress("id,größe\n1,2\n".encode("latin-1"))
    for texts in ((latin,), ("id,größe\n1,2\n", latin)):
        message = refusal(csv_files(tmp_path, *texts))
        assert f"{len(texts) - 1}.csv" in message
        assert "is not valid UTF-8: write the file as UTF-8" in message


def test_a_first_row_without_a_header_that_is_not_utf8_is_one_rejected_row(tmp_path):
    text = "1,größe\n".encode("latin-1") + b"2,x\n" * 3
    chunks = csv_files(tmp_path, text, header=False).read()
    assert rejected(chunks) == [(0, "InvalidUtf8")]
    assert rows_of(chunks) == [{"f0": 2, "f1": "x"}] * 3


@pytest.mark.parametrize("rows", ["1,2,3\n4,5,\n", "1\n", "1;2\n3;4\n"])
def test_a_header_of_another_width_than_all_rows_is_refused(tmp_path, rows):
    with pytest.raises(InvalidJob, match="as many values as the header has names") as refused:
        csv_files(tmp_path, "id,x\n" + rows).inspect()
    assert refused.value.reason is Reason.SCHEMA_MISMATCH
    assert "spec.input.csv.delimiter" in refused.value.message


def test_one_row_of_the_header_s_width_is_enough(tmp_path):
    chunks = csv_files(tmp_path, "id,x\n1,2,3\n", "id,x\n4,5\n").read()
    assert rejected(chunks) == [(5, "InvalidCsvRow")]
    assert rows_of(chunks) == [{"id": 4, "x": 5}]


def test_a_header_may_hold_no_newline_where_values_may_not(tmp_path):
    never = NewlinesInValues.NEVER
    data = csv_files(tmp_path, '"i\nd",a\n1,2\n', newlines_in_values=never)
    assert "newlinesInValues: Never" in refusal(data)


@pytest.mark.parametrize("after", ["", '"\n1,x\n'], ids=["no row behind it", "rows behind it"])
def test_a_header_that_is_too_long_is_refused(tmp_path, after):
    text = 'id,"t\n' + "1,x\n" * (5 << 20) + after
    assert "longer than 16 MiB" in refusal(csv_files(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"id","a ""b""","x,y"\n1,2,3\n', ["id", 'a "b"', "x,y"]),
        ('"i\nd","a\r\nb","c\rd"\r\n1,2,3\r\n', ["i\nd", "a\r\nb", "c\rd"]),
        ('\ufeff"id",5" pipe,\r\n1,2,3\r\n', ["id", '5" pipe', "f2"]),
        ('id,"a"', ["id", "a"]),
    ],
)
def test_a_header_may_be_quoted_as_any_row(tmp_path, text, names):
    data = csv_files(tmp_path, text)
    assert data.inspect().schema.names == names
    assert rejected(data.read()) == []


GOOD = [{"f0": 1, "f1": "x", "f2": "y"}] * 3


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("1,\r2,3\n", "InvalidCsvRow"),
        ("\r1,2,3\n", "InvalidCsvRow"),
        ("\r\r\r\n", "InvalidCsvRow"),
        ('1,"x\n2,"y"\n', "InvalidCsvRow"),
        ('1,"x"y\n', "InvalidCsvRow"),
    ],
)
def test_a_bad_first_row_without_a_header_does_not_count_the_columns(tmp_path, row, error):
    data = csv_files(tmp_path, row + "1,x,y\n" * 3, header=False)
    chunks = data.read()
    assert rejected(chunks) == [(0, error)]
    assert rows_of(chunks) == GOOD


def test_an_open_quote_in_a_first_row_costs_its_line_where_values_hold_no_newlines(tmp_path):
    never = NewlinesInValues.NEVER
    data = csv_files(tmp_path, '1,"x,y\n' + "1,x,y\n" * 3, header=False, newlines_in_values=never)
    chunks = data.read()
    assert rejected(chunks) == [(0, "UnclosedQuote")]
    assert rows_of(chunks) == GOOD


@pytest.mark.parametrize(
    ("text", "error"),
    [('1,"x,y\n2,x,y\n', "UnclosedQuote"), ("1,x\r2,x\r", "InvalidCsvRow")],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_file_that_is_one_bad_row_does_not_count_the_columns(tmp_path, text, error, place):
    texts = ["1,x,y\n" * 3]
    texts.insert(place, text)
    chunks = csv_files(tmp_path, *texts, header=False).read()
    assert rejected(chunks) == [(0, error)]
    assert rows_of(chunks) == GOOD


@pytest.mark.parametrize(
    ("text", "error"), [('1,"x\n2,y\n', "UnclosedQuote"), ("1,x\r2,y\r", "InvalidCsvRow")]
)
def test_the_only_row_without_a_header_is_rejected_where_it_is_bad(tmp_path, text, error):
    data = csv_files(tmp_path, text, header=False)
    assert data.inspect().schema.names == ["f0", "f1"]
    chunks = data.read()
    assert rejected(chunks) == [(0, error)]
    assert rows_of(chunks) == []
