"""Files to read: writers of test data, and the calls of inspection and reading around them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from batch_inference_api.choices import DataFormat
from batch_inference_api.runner_contract import CsvOptions
from batch_inference_runner.formats.inspection import Inspection, inspect
from batch_inference_runner.formats.reading import open_reader
from batch_inference_runner.plan.plan import FileInventory, InputFile, Piece, Shard
from batch_inference_runner.rows import Chunk
from batch_inference_runner.storage.local_file import LocalFile
from batch_inference_runner.storage.store import StoreError


def pinned(path: Path, **partitions: str) -> InputFile:
    """The file as planning lists it."""
    status = path.stat()
    return InputFile(
        uri=path.as_uri(),
        size=status.st_size,
        version=str(status.st_mtime_ns),
        location=0,
        partition_values=tuple(partitions.items()),
    )


def open_local(file: InputFile) -> LocalFile:
    return LocalFile(file.uri.removeprefix("file://"), size=file.size, version=file.version)


class RemoteFile(LocalFile):
    """A local file that is read as an object store's would be: by ranges only."""

    requests = 0
    fail_after: int | None = None

    def read_at(self, offset: int, length: int) -> memoryview:
        RemoteFile.requests += 1
        if RemoteFile.fail_after is not None and RemoteFile.requests > RemoteFile.fail_after:
            raise StoreError("the store does not answer")
        return super().read_at(offset, length)

    def local_path(self) -> None:
        return None


def open_remote(file: InputFile) -> RemoteFile:
    return RemoteFile(file.uri.removeprefix("file://"), size=file.size, version=file.version)


@dataclass
class Dataset:
    """Files of one format, inspected and read with few words."""

    files: tuple[InputFile, ...]
    format: DataFormat = DataFormat.PARQUET
    csv: CsvOptions = field(default_factory=CsvOptions)
    open_file: object = open_local
    target_bytes: int = 1 << 28
    watched: object = nullcontext
    key: str | None = None

    def inspect(self) -> Inspection:
        return inspect(
            self.files,
            self.open_file,
            format=self.format,
            csv=self.csv,
            target_bytes=self.target_bytes,
            key=self.key,
        )

    def read(
        self,
        columns: list[str] | None = None,
        *,
        inspection: Inspection | None = None,
        shard: Shard | None = None,
        frugal: bool = False,
    ) -> list[Chunk]:
        found = inspection or self.inspect()
        reader = open_reader(
            self.format,
            files=self.files,
            open_file=self.open_file,
            schema=found.schema,
            columns=found.schema.names if columns is None else columns,
            csv=self.csv,
            watched=self.watched,
            key=self.key,
        )
        try:
            return list(reader.chunks(shard or whole(found.inventories), frugal=frugal))
        finally:
            reader.close()


def whole(inventories: tuple[FileInventory, ...]) -> Shard:
    """One shard of everything."""
    pieces = []
    for file, inventory in enumerate(inventories):
        units = inventory.units
        if units:
            rows = None if units[0].rows is None else sum(unit.rows for unit in units)
            first = None if rows is None else 0
            pieces.append(Piece(file, units[0].start, units[-1].stop, first, rows))
    return Shard(0, tuple(pieces))


def shard_per_unit(inventories: tuple[FileInventory, ...]) -> list[Shard]:
    """As many shards as there are units."""
    shards = []
    for file, inventory in enumerate(inventories):
        first = 0
        for unit in inventory.units:
            piece = Piece(
                file, unit.start, unit.stop, None if unit.rows is None else first, unit.rows
            )
            first += unit.rows or 0
            shards.append(Shard(len(shards), (piece,)))
    return shards


def rows_of(chunks: list[Chunk]) -> list[dict]:
    return [row for chunk in chunks for row in chunk.table.to_pylist()]


def positions_of(chunks: list[Chunk]) -> list[int]:
    import numpy as np

    return [
        int(position)
        for chunk in chunks
        for position in chunk.positions.at(np.arange(chunk.table.num_rows))
    ]


def rejected(chunks: list[Chunk]) -> list[tuple[int, str]]:
    """Position and error class of every unreadable row, in order."""
    return [
        (int(position), rows.error)
        for chunk in chunks
        for rows in chunk.unreadable
        for position in rows.positions
    ]


def write_text(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def table_of(rows: int, *, seed: int = 7) -> pa.Table:
    """A plain table: id, x, name."""
    import numpy as np

    values = np.random.default_rng(seed).normal(size=rows).astype("f4")
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "x": pa.array(values),
            "name": pa.array([f"row {i}" for i in range(rows)]),
        }
    )
