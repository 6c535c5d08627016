"""Counts the rows of a published file by its extension."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RowCountError(Exception):
    """The file is not what its name says."""


def count_rows(path: str, body: bytes) -> int | None:
    """Return the number of rows, None for a format that is not known.

    Raises RowCountError.
    """
    name = path.rpartition("/")[2]
    for extension, count in _COUNTERS.items():
        if extension in name:
            try:
                return count(_decompressed(name, body))
            except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
                raise RowCountError(f"{type(error).__name__}: {str(error)[:200]}") from error
    return None


def _decompressed(name: str, body: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.decompress(body)
    if name.endswith(".zst"):
        import pyarrow as pa

        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            return bytes(stream.read())
    return body


def _parquet(body: bytes) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(body), page_checksum_verification=True)
    return sum(batch.num_rows for batch in file.iter_batches())


def _arrow(body: bytes) -> int:
    import pyarrow as pa

    with pa.ipc.open_file(pa.BufferReader(body)) as reader:
        return sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))


def _json_lines(body: bytes) -> int:
    return sum(1 for line in body.split(b"\n") if line.strip())


def _csv(body: bytes) -> int:
    with io.StringIO(body.decode("utf-8"), newline="") as text:
        rows = sum(1 for row in csv.reader(text) if row)
    return max(rows - 1, 0)  # the header


_COUNTERS: dict[str, Callable[[bytes], int]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _json_lines,
    ".csv": _csv,
}
