"""One output file of each format, written table by table in bounded memory.

Every writer gives its bytes to an `Outlet`, so that a file which is given up cannot be finished by
accident: pyarrow's writers complete themselves when they are closed or collected.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.types as pt

from batch_inference_api.choices import DataFormat
from batch_inference_runner.storage.write_only import WriteOnlyFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.storage.store import Sink, Written

_ROW_GROUP_ROWS = 1024 * 1024
_ROW_GROUP_BYTES = 64 * 1024 * 1024
_BLANK_LINE = re.compile(rb"^\n", re.MULTILINE)
_TEXT_SLICE_ROWS = 64 * 1024
_TEXT_SLICE_BYTES = 32 * 1024 * 1024


class Outlet(WriteOnlyFile):
    """What pyarrow writes to: passes bytes on to the sink until the file is given up."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self._given_up = False

    def write(self, data: Any) -> int:
        """Take bytes; after `give_up` they are dropped."""
        length = memoryview(data).nbytes
        if not self._given_up:
            self._sink.write(data)
        self._size += length
        return length

    def commit(self) -> Written:
        """Finish the object under the sink's key."""
        return self._sink.commit()

    def give_up(self) -> None:
        """Leave nothing behind, whatever pyarrow still wants to write."""
        self._given_up = True
        self._sink.abort()


class FileWriter(Protocol):
    """Writes tables of one schema to one file."""

    pending_bytes: int
    """Memory held for rows that were not encoded yet."""

    def write(self, table: pa.Table) -> None: ...
    def flush(self) -> None:
        """Encode what is pending."""

    def finish(self) -> None:
        """Write what the format needs at the end."""


def open_file_writer(
    outlet: Outlet, *, schema: pa.Schema, data_format: DataFormat, codec: str
) -> FileWriter:
    """Start a file; `codec` is one of `COMPRESSIONS[data_format]`."""
    makers: dict[DataFormat, Callable[[Outlet, pa.Schema, str], FileWriter]] = {
        DataFormat.PARQUET: ParquetFileWriter,
        DataFormat.CSV: CsvFileWriter,
        DataFormat.JSON_LINES: JsonLinesFileWriter,
        DataFormat.ARROW: ArrowFileWriter,
    }
    return makers[data_format](outlet, schema, codec)


class ParquetFileWriter:
    """Parquet with cheap encodings: DELTA for integers, BYTE_STREAM_SPLIT for floats.

    Together with zstd level 1 they cost half of what the defaults (snappy, dictionaries) cost and
    give files less than half as large. Page checksums are written: without them a quarter of
    damaged files read as different data.
    """

    def __init__(self, outlet: Outlet, schema: pa.Schema, codec: str) -> None:
        import pyarrow.parquet as pq

        encodings = _parquet_encodings(schema)
        self._writer = pq.ParquetWriter(
            outlet,
            schema,
            version="2.6",
            compression=codec,
            compression_level=1 if codec == "zstd" else None,
            use_dictionary=[field.name for field in schema if _suits_dictionary(field.type)],
            column_encoding=encodings,
            write_page_checksum=True,
        )
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self.pending_bytes = 0

    def write(self, table: pa.Table) -> None:
        """Take rows; row groups end at 1 Mi rows or 64 MiB, whatever the size of the tables."""
        for part in _slices(table, _ROW_GROUP_ROWS, _ROW_GROUP_BYTES):
            self._pending.append(part)
            self._pending_rows += part.num_rows
            self.pending_bytes += part.nbytes
            if self._pending_rows >= _ROW_GROUP_ROWS or self.pending_bytes >= _ROW_GROUP_BYTES:
                self.flush()

    def flush(self) -> None:
        """End the row group."""
        if self._pending:
            self._writer.write_table(pa.concat_tables(self._pending), self._pending_rows)
        self._pending, self._pending_rows, self.pending_bytes = [], 0, 0

    def finish(self) -> None:
        self.flush()
        self._writer.close()


def _parquet_encodings(schema: pa.Schema) -> dict[str, str]:
    encodings = {}
    for field in schema:
        path, kind = field.name, field.type
        while pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
            path, kind = f"{path}.list.element", kind.value_type
        if pt.is_float32(kind) or pt.is_float64(kind):
            encodings[path] = "BYTE_STREAM_SPLIT"
        elif pt.is_integer(kind) or (pt.is_temporal(kind) and not pt.is_interval(kind)):
            encodings[path] = "DELTA_BINARY_PACKED"
    return encodings


def _suits_dictionary(kind: pa.DataType) -> bool:
    kinds = (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary, pt.is_dictionary)
    return any(check(kind) for check in kinds)


class ArrowFileWriter:
    """Arrow IPC file, one record batch a table at least; dictionaries are written plain."""

    pending_bytes = 0

    def __init__(self, outlet: Outlet, schema: pa.Schema, codec: str) -> None:
        self._schema = pa.schema([_without_dictionary(field) for field in schema])
        options = pa.ipc.IpcWriteOptions(compression=None if codec == "none" else codec)
        self._stream = pa.PythonFile(outlet, mode="w")
        self._writer = pa.ipc.new_file(self._stream, self._schema, options=options)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table.cast(self._schema), max_chunksize=_TEXT_SLICE_ROWS * 2)

    def flush(self) -> None:
        """Nothing is ever pending."""

    def finish(self) -> None:
        self._writer.close()
        self._stream.close()


class CsvFileWriter:
    """CSV as RFC 4180 has it: a header, strings quoted, a null is an empty field without quotes.

    But a file of one column has quotes there, too: readers skip blank lines, and with them the row.
    """

    pending_bytes = 0

    def __init__(self, outlet: Outlet, schema: pa.Schema, codec: str) -> None:
        import pyarrow.csv as pa_csv

        self._schema = pa.schema([_as_csv_column(field) for field in schema])
        self._stream = _text_stream(outlet, codec)
        self._writer = pa_csv.CSVWriter(self._stream, self._schema)

    def write(self, table: pa.Table) -> None:
        table = table.cast(self._schema)
        if table.num_columns == 1 and table.column(0).null_count:
            self._stream.write(_csv_without_blank_lines(table))
        else:
            self._writer.write_table(table)

    def flush(self) -> None:
        """Nothing is ever pending."""

    def finish(self) -> None:
        self._writer.close()
        self._stream.close()


def _csv_without_blank_lines(table: pa.Table) -> bytes:
    """Write the rows of one column, nulls as `""`, which pyarrow has no option for."""
    import pyarrow.compute as pc
    import pyarrow.csv as pa_csv

    if pt.is_string(table.schema.types[0]) or pt.is_large_string(table.schema.types[0]):
        table = table.set_column(0, table.schema.field(0), pc.fill_null(table.column(0), ""))
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(include_header=False))
    text = sink.getvalue().to_pybytes()
    return text if table.column(0).null_count == 0 else _BLANK_LINE.sub(b'""\n', text)


class JsonLinesFileWriter:
    """One JSON object a line; `json_text` says how values look."""

    pending_bytes = 0

    def __init__(self, outlet: Outlet, schema: pa.Schema, codec: str) -> None:
        del schema
        self._stream = _text_stream(outlet, codec)

    def write(self, table: pa.Table) -> None:
        from batch_inference_runner.formats.json_text import render_lines

        for part in _slices(table, _TEXT_SLICE_ROWS, _TEXT_SLICE_BYTES):
            self._stream.write(render_lines(part))

    def flush(self) -> None:
        """Nothing is ever pending."""

    def finish(self) -> None:
        self._stream.close()


def _text_stream(outlet: Outlet, codec: str) -> pa.NativeFile:
    stream = pa.PythonFile(outlet, mode="w")
    return stream if codec == "none" else pa.CompressedOutputStream(stream, codec)


def _without_dictionary(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pt.is_dictionary(field.type) else field


def _as_csv_column(field: pa.Field) -> pa.Field:
    """Replace what pyarrow's CSV writer does not know; timestamps with a zone become UTC."""
    field = _without_dictionary(field)
    if pt.is_string_view(field.type):
        return field.with_type(pa.string())
    if pt.is_timestamp(field.type) and field.type.tz is not None:
        return field.with_type(pa.timestamp(field.type.unit, "UTC"))
    return field


def _slices(table: pa.Table, most_rows: int, most_bytes: int) -> list[pa.Table]:
    """Cut a table so that the parts respect both limits, if rows are about equally large."""
    rows = table.num_rows
    if rows == 0:
        return []
    parts = max(-(-rows // most_rows), -(-table.nbytes // most_bytes), 1)
    step = max(1, -(-rows // parts))
    return [table] if step >= rows else [table.slice(at, step) for at in range(0, rows, step)]
