"""A shard's rows, in order, with their positions in the file."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from batch_inference_api.choices import DataFormat
from batch_inference_runner.formats.columns import find_columns, refuse_without_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from batch_inference_api.runner_contract import CsvOptions
    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.formats.read_ahead import Watched
    from batch_inference_runner.plan.plan import InputFile, Shard
    from batch_inference_runner.rows import Chunk


class ShardReader(Protocol):
    """Reads shards of one dataset."""

    def chunks(self, shard: Shard, *, frugal: bool = False) -> Iterator[Chunk]:
        """Read a shard's rows as chunks of at most 131,072, in order.

        Several shards may be read at once, from different threads; one iterator is advanced by one
        thread at a time, not always the same. Every row of the shard is in exactly one chunk's
        table or `unreadable`. Raises VersionChanged, NotFound or StoreError when bytes could not
        be fetched, MemoryError when memory ran short; the iterator is finished then. `frugal`:
        nothing else uses the memory, so a row group or record batch for which it does not suffice
        is unreadable; not so in an Arrow stream, where all that follows would be lost with it.
        """

    def close(self) -> None:
        """Release open files and threads; no iterator may be used afterwards."""


def open_reader(
    format: DataFormat,  # noqa: A002 (the field's name in the resource)
    *,
    files: Sequence[InputFile],
    open_file: OpenFile,
    schema: pa.Schema,
    columns: Sequence[str],
    csv: CsvOptions,
    watched: Watched = nullcontext,
    key: str | None = None,
) -> ShardReader:
    """Open a reader of exactly `columns`, in that order, with the types of `schema`.

    `schema` is what `inspect` gave for these files. A column `a.b` that is not in the schema is
    field b of struct a. `watched` is entered, with the number of a shard, by threads of the reader
    that decode for it. `key` is as in `inspect`.

    Raises KeyError for a column that is neither, InvalidJob (SCHEMA_MISMATCH) for one of a type
    that cannot be read.
    """
    paths = find_columns(schema, columns)
    refuse_without_arrays(paths)
    if format == DataFormat.PARQUET:
        from batch_inference_runner.formats.parquet_files import ParquetReader

        return ParquetReader(files, open_file, columns=paths)
    if format == DataFormat.ARROW:
        from batch_inference_runner.formats.arrow_files import ArrowReader

        return ArrowReader(files, open_file, columns=paths, watched=watched)
    if format == DataFormat.JSON_LINES:
        from batch_inference_runner.formats.json_lines import JsonLinesReader

        return JsonLinesReader(files, open_file, schema=schema, columns=paths)
    from batch_inference_runner.formats.csv_files import CsvReader

    return CsvReader(files, open_file, schema=schema, columns=paths, options=csv, key=key)
