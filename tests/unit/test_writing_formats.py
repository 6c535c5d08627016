"""What is written is read back equal, for every type and format."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import math

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.ipc as pa_ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_api.choices import COMPRESSIONS, DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.row_count import count_rows
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.file_names import file_extension
from batch_inference_runner.formats.writable import check_writable
from batch_inference_runner.formats.writing import DatasetWriter
from testkit.memory_sinks import MemorySinks

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
LOCAL_TIMES = st.datetimes(*(dt.datetime(year, 1, 1) for year in (1700, 2250)))  # noqa: DTZ001 - local times
VALUES = {
    pa.int8(): st.integers(-128, 127),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.date32(): st.dates(dt.date(1700, 1, 1), dt.date(9000, 1, 1)),
    pa.timestamp("us"): LOCAL_TIMES,
    pa.timestamp("ms", "Europe/Berlin"): LOCAL_TIMES.map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000, tzinfo=dt.UTC)
    ),
    pa.time64("us"): st.times(),
    pa.decimal128(20, 3): st.decimals(-(10**16), 10**16, places=3),
    pa.decimal256(50, 3): st.decimals(-(10**40), 10**40, places=3),
    pa.dictionary(pa.int32(), pa.string()): TEXT,
    pa.null(): st.none(),
}
ROUND = {
    pa.float16(): st.floats(width=16),
    pa.binary(): st.binary(max_size=5),
    pa.duration("us"): st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000)),
}
NESTED = {
    pa.list_(pa.int64()): st.lists(st.none() | st.integers(-9, 9), max_size=3),
    pa.list_(pa.float32(), 2): st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=2),
    pa.large_list(pa.string()): st.lists(TEXT, max_size=3),
    pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(0, 9), "b": st.none() | st.lists(TEXT, max_size=2)}
    ),
    pa.map_(pa.string(), pa.int64()): st.dictionaries(TEXT, st.integers(0, 9), max_size=2).map(
        lambda pairs: list(pairs.items())
    ),
    pa.list_(pa.list_(pa.bool_())): st.lists(
        st.none() | st.lists(st.none() | st.booleans(), max_size=2), max_size=2
    ),
}


@st.composite
def make_tables(draw, values, columns=3):
    kinds = draw(st.lists(st.sampled_from(list(values)), min_size=1, max_size=columns))
    rows = draw(st.integers(0, 5))
    arrays = {"id": pa.array(range(rows), pa.int64())}
    for index, kind in enumerate(kinds):
        cells = st.lists(st.none() | values[kind], min_size=rows, max_size=rows)
        arrays[f"c {index}"] = pa.array(draw(cells), kind)
    table = pa.table(arrays)
    return table.slice(draw(st.integers(0, 1)))


def write(table, data_format, compression="none", *, slices=2):
    sinks = MemorySinks()
    writer = DatasetWriter(
        sinks, stem="part", schema=table.schema, format=data_format, compression=compression
    )
    step = max(1, -(-table.num_rows // slices))
    for start in range(0, table.num_rows, step):
        writer.write(table.slice(start, step))
    (file,) = writer.finish()
    assert file.rows == table.num_rows
    assert file.path == "part" + file_extension(data_format, compression)
    body = sinks.opened[file.path].body
    assert file.written.size == len(body)
    return body


def plain(value):
    """NaN as text, so that rows compare."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def rows_of(table):
    return [plain(row) for row in table.to_pylist()]


@settings(max_examples=60, deadline=None)
@given(make_tables({**VALUES, **ROUND, **NESTED}))
def test_parquet_reads_back_equal(table):
    read = pq.read_table(io.BytesIO(write(table, DataFormat.PARQUET, "zstd")))
    assert read.schema.equals(table.schema)
    assert rows_of(read) == rows_of(table)


@settings(max_examples=60, deadline=None)
@given(make_tables({**VALUES, **ROUND, **NESTED}))
def test_arrow_reads_back_equal(table):
    read = pa_ipc.open_file(write(table, DataFormat.ARROW, "lz4")).read_all()
    assert read.schema.names == table.schema.names
    assert rows_of(read) == rows_of(table)


def csv_type(kind):
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.timestamp(kind.unit, "UTC") if getattr(kind, "tz", None) else kind


@settings(max_examples=60, deadline=None)
@given(make_tables({kind: VALUES[kind] for kind in VALUES if not pa.types.is_decimal256(kind)}))
def test_csv_reads_back_equal_with_the_same_types(table):
    body = write(table, DataFormat.CSV)
    kinds = {field.name: csv_type(field.type) for field in table.schema}
    options = pa_csv.ConvertOptions(
        column_types=kinds,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    if table.num_rows == 0:
        assert body.decode().strip() == ",".join(f'"{name}"' for name in table.column_names)
        return
    read = pa_csv.read_csv(io.BytesIO(body), parse_options=parse, convert_options=options)
    assert rows_of(read) == rows_of(table)


def as_json(value):
    """What a value should look like in JSON Lines."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC) if value.tzinfo else value
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    return value


def from_json(value, kind):
    """Parse what JSON Lines holds for a value of an Arrow type."""
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        assert "T" in value
        assert value.endswith("Z") == (kind.tz is not None)
        return dt.datetime.fromisoformat(value)
    if pa.types.is_date(kind):
        return dt.date.fromisoformat(value)
    if pa.types.is_time(kind):
        return dt.time.fromisoformat(value)
    if pa.types.is_decimal(kind):
        return pa.scalar(value).cast(kind).as_py()
    if pa.types.is_map(kind):
        return list(value.items())
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return [from_json(item, kind.value_type) for item in value]
    if pa.types.is_floating(kind):
        return pa.scalar(value, pa.float64()).cast(kind).as_py()
    return value


@settings(max_examples=100, deadline=None)
@given(make_tables({**VALUES, pa.float16(): ROUND[pa.float16()], **NESTED}))
def test_json_lines_read_back_equal(table):
    lines = write(table, DataFormat.JSON_LINES).decode().split("\n")
    assert lines.pop() == ""
    read = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    kinds = {field.name: field.type for field in table.schema}
    assert [
        {name: from_json(value, kinds[name]) for name, value in row.items()} for row in read
    ] == [{name: as_json(value) for name, value in row.items()} for row in table.to_pylist()]


def test_nan_inside_lists_is_null_in_json():
    table = pa.table({"v": [[1.5, math.nan, None], None, []]})
    assert write(table, DataFormat.JSON_LINES) == b'{"v":[1.5,null,null]}\n{"v":null}\n{"v":[]}\n'


def test_json_escapes_every_control_character_and_keeps_unicode():
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028é😀'
    body = write(pa.table({'k"ey\n': [text, None, ""]}), DataFormat.JSON_LINES)
    assert [json.loads(line)['k"ey\n'] for line in body.splitlines()] == [text, None, ""]
    assert "é😀".encode() in body


def test_csv_tells_null_from_the_empty_string():
    table = pa.table({"a": ["", None, 'q"x,\n'], "b": [1, 2, None]})
    assert write(table, DataFormat.CSV) == b'"a","b"\n"",1\n,2\n"q""x,\n",\n'


@pytest.mark.parametrize(
    ("values", "body"),
    [
        (pa.array([None, 1.5, None, None]), b'"x"\n""\n1.5\n""\n""\n'),
        (pa.array([None, "a\n\nb", "", None]), b'"x"\n""\n"a\n\nb"\n""\n""\n'),
        (pa.array([True, None, False]), b'"x"\ntrue\n""\nfalse\n'),
        (pa.array(["a", None]).dictionary_encode(), b'"x"\n"a"\n""\n'),
        (pa.nulls(2), b'"x"\n""\n""\n'),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
@pytest.mark.parametrize("slices", [1, 2])
def test_a_csv_file_of_one_column_has_no_blank_lines(values, body, slices):
    """Readers skip blank lines, and a null in one would be a lost row."""
    assert write(pa.table({"x": values}), DataFormat.CSV, slices=slices) == body
    assert count_rows("part.csv", io.BytesIO(body)) == len(values)


def test_a_csv_value_of_any_length_counts_as_a_row():
    body = write(pa.table({"x": ["a" * 200_000, "b"], "y": [1, 2]}), DataFormat.CSV)
    assert count_rows("part.csv", io.BytesIO(body)) == 2


@pytest.mark.parametrize("data_format", list(DataFormat))
def test_no_rows_give_one_file_with_the_schema(data_format):
    body = write(pa.table({"x": pa.array([], pa.float32())}), data_format)
    if data_format is DataFormat.PARQUET:
        assert pq.read_schema(io.BytesIO(body)).names == ["x"]
    elif data_format is DataFormat.ARROW:
        assert pa_ipc.open_file(body).schema.names == ["x"]
    else:
        assert body == (b'"x"\n' if data_format is DataFormat.CSV else b"")


@pytest.mark.parametrize(
    ("data_format", "codec"),
    [(data_format, codec) for data_format, codecs in COMPRESSIONS.items() for codec in codecs],
)
def test_every_compression_gives_the_same_rows(data_format, codec):
    table = pa.table({"x": list(range(1000)), "s": ["text"] * 1000})
    body = write(table, data_format, codec)
    assert body == write(table, data_format, codec)
    if data_format is DataFormat.PARQUET:
        assert pq.read_table(io.BytesIO(body)).equals(table)
    elif data_format is DataFormat.ARROW:
        assert pa_ipc.open_file(body).read_all().equals(table)
    else:
        raw = {"none": bytes, "gzip": gzip.decompress, "zstd": _zstd}[codec](body)
        assert raw == write(table, data_format)


def _zstd(body):
    return pa.input_stream(io.BytesIO(body), compression="zstd").read()


def test_parquet_pages_have_checksums_and_cheap_encodings():
    table = pa.table({
        "id": pa.array(range(9), pa.int64()),
        "score": pa.array([0.5] * 9, pa.float32()),
        "name": ["x"] * 9,
        "vector": pa.array([[0.5, 1.0]] * 9, pa.list_(pa.float32(), 2)),
    })  # fmt: skip
    body = write(table, DataFormat.PARQUET, "zstd")
    columns = [pq.read_metadata(io.BytesIO(body)).row_group(0).column(index) for index in range(4)]
    assert "DELTA_BINARY_PACKED" in columns[0].encodings
    assert "BYTE_STREAM_SPLIT" in columns[1].encodings
    assert "RLE_DICTIONARY" in columns[2].encodings
    assert "BYTE_STREAM_SPLIT" in columns[3].encodings
    damaged = bytearray(body)
    damaged[columns[1].data_page_offset + columns[1].total_compressed_size - 1] ^= 0xFF
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        pq.read_table(io.BytesIO(damaged), page_checksum_verification=True)


def test_row_groups_do_not_follow_the_size_of_the_tables():
    table = pa.table({"x": range(10_000)})
    body = write(table, DataFormat.PARQUET, slices=1000)
    assert pq.read_metadata(io.BytesIO(body)).num_row_groups == 1


UNION = pa.sparse_union([pa.field("a", pa.int8()), pa.field("b", pa.string())])


@pytest.mark.parametrize(
    ("kind", "data_format"),
    [
        (pa.list_(pa.int8()), DataFormat.CSV),
        (pa.struct([("a", pa.int8())]), DataFormat.CSV),
        (pa.binary(), DataFormat.CSV),
        (pa.list_(pa.binary()), DataFormat.JSON_LINES),
        (pa.map_(pa.int8(), pa.int8()), DataFormat.JSON_LINES),
        (pa.duration("s"), DataFormat.JSON_LINES),
        (pa.month_day_nano_interval(), DataFormat.PARQUET),
        (pa.list_(pa.month_day_nano_interval()), DataFormat.PARQUET),
        (pa.struct([("a", pa.list_(UNION))]), DataFormat.PARQUET),
        (pa.map_(pa.string(), pa.run_end_encoded(pa.int32(), pa.int8())), DataFormat.PARQUET),
        (pa.struct([]), DataFormat.PARQUET),
        (pa.list_(pa.struct([]), 2), DataFormat.PARQUET),
        (pa.large_list(pa.binary(0)), DataFormat.PARQUET),
        (pa.list_(pa.decimal128(10, -2)), DataFormat.PARQUET),
    ],
)
def test_a_column_that_the_format_cannot_hold_is_named(kind, data_format):
    with pytest.raises(InvalidJob, match="'odd'") as raised:
        check_writable(pa.schema([("id", pa.int64()), ("odd", kind)]), data_format)
    assert raised.value.reason is Reason.SCHEMA_MISMATCH


@pytest.mark.parametrize("data_format", [DataFormat.ARROW, DataFormat.JSON_LINES])
def test_a_struct_without_fields_is_written_where_the_format_has_them(data_format):
    body = write(pa.table({"id": [1, 2], "odd": pa.array([{}, None], pa.struct([]))}), data_format)
    if data_format is DataFormat.ARROW:
        assert pa_ipc.open_file(body).read_all()["odd"].to_pylist() == [{}, None]
    else:
        assert body == b'{"id":1,"odd":{}}\n{"id":2,"odd":null}\n'


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(InvalidJob, match="'x'"):
        check_writable(pa.schema([("x", pa.int8()), ("x", pa.int8())]), DataFormat.PARQUET)


def test_a_codec_that_the_format_does_not_know_is_refused():
    with pytest.raises(InvalidJob, match="snappy"):
        file_extension(DataFormat.CSV, "snappy")
