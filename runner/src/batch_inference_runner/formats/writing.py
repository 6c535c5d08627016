"""Writes the output of one shard: one file, or one a partition folder.

Nothing becomes visible before `finish`. Files are encoded as the tables come in, in memory that
does not grow with the number of rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.formats.file_names import checked_compression, file_extension
from batch_inference_runner.formats.file_writers import FileWriter, Outlet, open_file_writer
from batch_inference_runner.formats.output_partitions import split_by_folder
from batch_inference_runner.formats.writable import check_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batch_inference_api.choices import DataFormat
    from batch_inference_runner.storage.store import Sink, Written

MOST_PARTITIONS_A_SHARD = 1024
_MOST_PENDING_BYTES = 128 * 1024 * 1024
_MOST_COMMITS = 16
"""Files of a shard that are committed at once."""


class WrittenFile(NamedTuple):
    """A finished file; `path` is relative to the output: `k=v/<stem>.parquet`."""

    path: str
    written: Written
    rows: int


class DatasetWriter:
    """Writes the rows of one attempt at one shard; used by one thread at a time.

    `open_sink` is given each file's relative path. `schema` includes the columns of `partition_by`,
    which are left out of the files. Rows keep their order within a file.
    """

    def __init__(
        self,
        open_sink: Callable[[str], Sink],
        *,
        stem: str,
        schema: pa.Schema,
        format: DataFormat,  # noqa: A002 - the word that the resource uses
        compression: str,
        partition_by: tuple[str, ...] = (),
    ) -> None:
        check_writable(schema, format, partition_by=partition_by)
        self._open_sink = open_sink
        self._schema = schema
        self._partition_by = partition_by
        self._format = format
        self._codec = checked_compression(format, compression)
        self._name = stem + file_extension(format, compression)
        kept = [field for field in schema if field.name not in partition_by]
        self._file_schema = pa.schema(kept, metadata=schema.metadata)
        self._files: dict[str, _OpenFile] = {}

    def write(self, table: pa.Table) -> None:
        """Write rows whose columns have the names of the schema, and types that cast to it.

        Raises JobFailed when the shard's rows have more than 1,024 partitions.
        """
        if not table.schema.equals(self._schema):
            table = table.select(self._schema.names).cast(self._schema)
        if not self._partition_by:
            self._file("").write(table)
            return
        for folder, rows in split_by_folder(table, self._partition_by):
            self._file(folder).write(rows)
        self._bound_memory()

    def finish(self) -> tuple[WrittenFile, ...]:
        """Complete all files and return them, sorted by path.

        Without partitions there is always one, also for no rows at all.
        """
        if not self._partition_by:
            self._file("")
        folders = sorted(self._files)
        files = [self._files[folder] for folder in folders]
        return tuple(
            WrittenFile(folder + self._name, written, file.rows)
            for folder, file, written in zip(folders, files, _committed(files), strict=True)
        )

    def abort(self) -> None:
        """Leave nothing behind; safe at any time."""
        for file in self._files.values():
            file.abort()

    def _file(self, folder: str) -> _OpenFile:
        if folder not in self._files:
            if len(self._files) >= MOST_PARTITIONS_A_SHARD:
                raise JobFailed(
                    Reason.INVALID_SPEC,
                    f"a shard has rows of more than {MOST_PARTITIONS_A_SHARD} partitions by "
                    f"{', '.join(map(repr, self._partition_by))}: partition by columns with fewer "
                    "values, or cut smaller shards (spec.sharding). The shards of this output are "
                    "planned, so use another one for either, or give it up with `bij gc OUTPUT "
                    "--release`, which deletes what is committed, and start anew",
                )
            outlet = Outlet(self._open_sink(folder + self._name))
            self._files[folder] = _OpenFile(
                outlet,
                open_file_writer(
                    outlet, schema=self._file_schema, data_format=self._format, codec=self._codec
                ),
            )
        return self._files[folder]

    def _bound_memory(self) -> None:
        """Encode early when many partitions hold a little each; the largest ones go first."""
        pending = sum(file.writer.pending_bytes for file in self._files.values())
        by_size = sorted(self._files.values(), key=lambda file: -file.writer.pending_bytes)
        for file in by_size:
            if pending <= _MOST_PENDING_BYTES:
                return
            pending -= file.writer.pending_bytes
            file.writer.flush()


class _OpenFile:
    def __init__(self, outlet: Outlet, writer: FileWriter) -> None:
        self._outlet = outlet
        self.writer = writer
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        self.writer.write(table)
        self.rows += table.num_rows

    def encode(self) -> None:
        self.writer.finish()

    def commit(self) -> Written:
        return self._outlet.commit()

    def abort(self) -> None:
        self._outlet.give_up()


def _committed(files: Sequence[_OpenFile]) -> list[Written]:
    """Encode what is left of the files, and commit them side by side: each may be a request."""

    def encoded() -> Iterator[_OpenFile]:
        for file in files:
            file.encode()
            yield file

    if len(files) <= 1:
        return [file.commit() for file in encoded()]
    with ThreadPoolExecutor(_MOST_COMMITS, thread_name_prefix="commit") as pool:
        return list(pool.map(_OpenFile.commit, encoded()))
