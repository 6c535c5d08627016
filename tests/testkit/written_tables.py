"""A table written in each of the formats that can be read."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

FORMATS = ("Parquet", "CSV", "JSONLines", "Arrow")
EXTENSIONS = {"Parquet": "parquet", "CSV": "csv", "JSONLines": "jsonl", "Arrow": "arrow"}


def write(table: pa.Table, folder: Path, name: str, data_format: str, *, codec: str = "") -> Path:
    """Write one file; `codec` is gzip or zstd for texts, the format's own for the others."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = {"gzip": ".gz", "zstd": ".zst"}.get(codec, "")
    if data_format == "Parquet":
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, compression=codec or "snappy")
    elif data_format == "Arrow":
        path = folder / f"{name}.arrow"
        options = pa.ipc.IpcWriteOptions(compression=codec or None)
        with pa.ipc.new_file(path, table.schema, options=options) as writer:
            writer.write_table(table)
    else:
        path = folder / f"{name}.{EXTENSIONS[data_format]}{suffix}"
        path.write_bytes(compressed(text_of(table, data_format), codec))
    return path


def text_of(table: pa.Table, data_format: str) -> bytes:
    """The table as CSV or JSON Lines."""
    if data_format == "CSV":
        sink = io.BytesIO()
        pv.write_csv(table, sink)
        return sink.getvalue()
    return b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())


def compressed(body: bytes, codec: str) -> bytes:
    """The bytes as gzip, zstd, or as they are."""
    if codec == "gzip":
        return gzip.compress(body)
    if codec == "zstd":
        return bytes(pa.Codec("zstd").compress(body))
    return body
