"""Counts the rows of a published file by its extension, without holding the file in memory."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_BYTES = 1024 * 1024


class RowCountError(Exception):
    """The file is not what its name says."""


def count_rows(path: str, file: BinaryIO) -> int | None:
    """Return the number of rows, None for a format that is not known.

    Raises RowCountError.
    """
    name = path.rpartition("/")[2]
    for extension, count in _COUNTERS.items():
        if extension in name:
            try:
                return count(_decompressed(name, file))
            except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
                raise RowCountError(f"{type(error).__name__}: {str(error)[:200]}") from error
    return None


def _decompressed(name: str, file: BinaryIO) -> BinaryIO:
    if name.endswith(".gz"):
        return cast("BinaryIO", gzip.open(file))
    if name.endswith(".zst"):
        import pyarrow as pa

        stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        return cast("BinaryIO", io.BufferedReader(stream, _BUFFER_BYTES))
    return file


def _parquet(file: BinaryIO) -> int:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(
        file, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER_BYTES
    )
    return sum(batch.num_rows for batch in parquet.iter_batches())


def _arrow(file: BinaryIO) -> int:
    import pyarrow as pa

    with pa.ipc.open_file(file) as reader:
        return sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))


def _json_lines(file: BinaryIO) -> int:
    return sum(1 for line in file if line.strip())


def _csv(file: BinaryIO) -> int:
    csv.field_size_limit(sys.maxsize)  # a value may be longer than Python's 128 KiB
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        rows = sum(1 for row in csv.reader(text) if row)
    return max(rows - 1, 0)  # the header


_COUNTERS: dict[str, Callable[[BinaryIO], int]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _json_lines,
    ".csv": _csv,
}
