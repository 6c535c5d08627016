"""Parquet: footers, and row groups decoded with their row numbers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batch_inference_api.choices import DataFormat
from batch_inference_runner.formats.columns import ColumnPath, empty_table, take_columns
from batch_inference_runner.formats.foreign_file import DECODE_ERRORS, ForeignFile
from batch_inference_runner.formats.read_ahead import read_ahead
from batch_inference_runner.formats.schemas import plain_schema
from batch_inference_runner.formats.unreadable import unreadable_chunks
from batch_inference_runner.formats.unreadable_files import refuse_encrypted, unreadable_file
from batch_inference_runner.formats.valid_text import is_text_valid, without_invalid_text
from batch_inference_runner.plan.plan import FileInventory, Unit
from batch_inference_runner.rows import CHUNK_ROWS, MOST_UNIT_ROWS, Chunk, Positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.plan.plan import InputFile, Piece, Shard

# A row group whose selected columns are larger is read through windows instead of prefetched.
_PREFETCH_BYTES = 128 * 1024 * 1024
_MOST_IDLE_FILES = 16
# The dataset's first row group comes in small chunks, so that the model is probed and the first row
# is scored soon. Decided by place, not by time: what a corrupt group loses is the same every time.
_FIRST_CHUNK_ROWS = 8192
# And a few columns at a time: pages and dictionaries of all 33 columns of the benchmark at once are
# 37 MB that the kernel has to give first, which makes 27 ms of 10 ms.
_FIRST_CHUNK_COLUMNS = 4


def open_parquet(foreign: ForeignFile, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a file's footer; page checksums are verified where the file has them.

    INT96 timestamps, which Spark, Hive and Impala wrote, span far more than the years 1677 to 2262
    of pyarrow's nanoseconds, beyond which it wraps around silently.
    """
    return pq.ParquetFile(
        foreign.arrow,
        metadata=metadata,
        pre_buffer=False,
        buffer_size=0,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit="us",
        arrow_extensions_enabled=False,
    )


def inspect_parquet(file: InputFile, open_file: OpenFile) -> tuple[pa.Schema, FileInventory]:
    """Read one footer: the plain schema, and one unit per row group.

    Raises InvalidJob(INPUT_CORRUPT, SCHEMA_MISMATCH) naming a file that cannot be read.
    """
    foreign = ForeignFile(file, open_file)
    try:
        footer = open_parquet(foreign)
        refuse_encrypted(foreign, footer.metadata)
        units = _units(footer.metadata)
        return plain_schema(footer.schema_arrow), FileInventory(units)
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        foreign.raise_failed_fetch()
        problem = "its footer cannot be read"
        raise unreadable_file(foreign, DataFormat.PARQUET, problem, error) from error
    finally:
        foreign.close()


def _units(metadata: pq.FileMetaData) -> tuple[Unit, ...]:
    units = []
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        rows = group.num_rows
        if not 0 <= rows <= MOST_UNIT_ROWS or not _values_agree(group):
            raise ValueError(f"row group {index} contradicts its own row count")
        units.append(Unit(index, index + 1, max(0, group.total_byte_size), rows))
    if sum(unit.rows or 0 for unit in units) != metadata.num_rows:
        raise ValueError("the row groups do not add up to the file's row count")
    return tuple(units)


def _values_agree(group: pq.RowGroupMetaData) -> bool:
    if group.num_columns == 0:
        return True
    column = group.column(0)
    # a nested column holds one value a row or more, a flat one exactly as many
    nested = "." in column.path_in_schema
    return bool(
        column.num_values >= group.num_rows if nested else column.num_values == group.num_rows
    )


class _Group(NamedTuple):
    """One row group to decode."""

    file: int
    ordinal: int
    first_row: int


class _Handle:
    """An open file with its parsed footer, used by one iterator at a time."""

    def __init__(
        self, file: InputFile, open_file: OpenFile, metadata: pq.FileMetaData | None
    ) -> None:
        self.foreign = ForeignFile(file, open_file)
        self.parquet = open_parquet(self.foreign, metadata)

    def close(self) -> None:
        self.parquet.close()
        self.foreign.close()


class ParquetReader:
    """Reads shards of Parquet files; see reading.ShardReader."""

    def __init__(
        self, files: Sequence[InputFile], open_file: OpenFile, *, columns: Sequence[ColumnPath]
    ) -> None:
        self._files = files
        self._open_file = open_file
        self._columns = tuple(columns)
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, list[_Handle]] = OrderedDict()
        self._footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="fetch")

    def chunks(self, shard: Shard, *, frugal: bool = False) -> Iterator[Chunk]:
        for piece in shard.pieces:
            yield from self._piece(piece, frugal=frugal)

    def close(self) -> None:
        """Close every file and end the fetching threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            handles = [handle for idle in self._idle.values() for handle in idle]
            self._idle.clear()
        for handle in handles:
            handle.close()

    def _piece(self, piece: Piece, *, frugal: bool) -> Iterator[Chunk]:
        handle = self._take(piece.file)
        try:
            decoder = _Decoder(handle, self._files[piece.file], self._columns, frugal=frugal)
            yield from self._groups(handle, piece, decoder, frugal=frugal)
            handle.foreign.raise_if_changed()
        except BaseException:
            handle.close()
            raise
        self._give_back(piece.file, handle)

    def _groups(
        self, handle: _Handle, piece: Piece, decoder: _Decoder, *, frugal: bool
    ) -> Iterator[Chunk]:
        metadata, first_row = handle.parquet.metadata, piece.first_row or 0
        groups = []
        for ordinal in range(piece.start, piece.stop):
            groups.append(_Group(piece.file, ordinal, first_row))
            first_row += metadata.row_group(ordinal).num_rows
        ranged = handle.foreign.ranged
        if ranged is None or frugal:
            for group in groups:
                if ranged is not None:
                    ranged.hold([], [])  # or two groups would be in memory at once
                    ranged.hold(*decoder.fetch(group))
                yield from decoder.decode(group)
            return
        for group, bodies in read_ahead(groups, decoder.fetch, pool=self._pool):
            ranged.hold(*bodies)
            yield from decoder.decode(group)

    def _take(self, file: int) -> _Handle:
        with self._lock:
            idle = self._idle.get(file)
            if idle:
                return idle.pop()
            metadata = self._footers.get(file)
        handle = _Handle(self._files[file], self._open_file, metadata)
        with self._lock:
            self._footers[file] = handle.parquet.metadata
            while len(self._footers) > _MOST_IDLE_FILES:
                self._footers.popitem(last=False)
        return handle

    def _give_back(self, file: int, handle: _Handle) -> None:
        if handle.foreign.ranged is not None:
            handle.foreign.ranged.hold([], [])
        evicted: list[_Handle] = []
        with self._lock:
            self._idle.setdefault(file, []).append(handle)
            self._idle.move_to_end(file)
            while len(self._idle) > _MOST_IDLE_FILES:
                evicted = self._idle.popitem(last=False)[1]
        for old in evicted:
            old.close()


class _Decoder:
    """Decodes row groups of one open file; `frugal` as in reading.ShardReader."""

    def __init__(
        self, handle: _Handle, file: InputFile, columns: tuple[ColumnPath, ...], *, frugal: bool
    ) -> None:
        self._handle = handle
        self._columns = columns
        self._frugal = frugal
        self._partitions = dict(file.partition_values)
        self._names = _file_columns(columns, self._partitions)
        self._leaves = _leaf_indices(handle.parquet, self._names)

    def fetch(self, group: _Group) -> tuple[list[tuple[int, int]], list[memoryview]]:
        """Fetch the selected column chunks of a row group, adjacent ones as one range."""
        ranges = self._ranges(group.ordinal)
        if sum(length for _, length in ranges) > _PREFETCH_BYTES:
            return [], []
        return ranges, self._handle.foreign.source.read_ranges(ranges)

    def _ranges(self, ordinal: int) -> list[tuple[int, int]]:
        from batch_inference_runner.storage.object_file import coalesce

        size = self._handle.foreign.size
        group = self._handle.parquet.metadata.row_group(ordinal)
        chunks = [_chunk_range(group.column(leaf)) for leaf in self._leaves]
        # What a corrupt footer says beyond the file is left out: decoding reports it.
        return coalesce(
            [
                (start, min(length, size - start))
                for start, length in chunks
                if 0 <= start <= size and length >= 0
            ]
        )

    def decode(self, group: _Group) -> Iterator[Chunk]:
        """Decode one row group as chunks; what cannot be decoded comes as unreadable rows."""
        rows = self._handle.parquet.metadata.row_group(group.ordinal).num_rows
        read = 0
        is_first = (group.file, group.ordinal) == (0, 0)
        batches = self._first_batches(rows) if is_first else self._batches(group.ordinal, rows)
        while True:
            try:
                table = next(batches, None)
                if table is None:
                    break
                chunk = self._chunk(group, read, table, left=rows - read)
            except MemoryError:
                if not self._frugal:
                    raise
                yield from self._too_large(group, read, rows)
                return
            except DECODE_ERRORS as error:
                self._handle.foreign.raise_failed_fetch()
                yield from self._corrupt(group, read, rows, type(error).__name__)
                return
            if table.num_rows or rows == 0:
                yield chunk
            read += table.num_rows
        if read < rows:
            yield from self._corrupt(group, read, rows, "rows are missing")

    def _first_batches(self, rows: int) -> Iterator[pa.Table]:
        if rows <= _FIRST_CHUNK_ROWS or not self._names:
            yield from self._batches(0, rows, _FIRST_CHUNK_ROWS)
            return
        first = self._first_chunk()
        yield first
        skipped = first.num_rows
        for table in self._batches(0, rows, _FIRST_CHUNK_ROWS):
            yield table.slice(skipped)
            skipped = max(0, skipped - table.num_rows)

    def _first_chunk(self) -> pa.Table:
        narrow = []
        for names in _few_at_a_time(self._names):
            table = next(self._batches_of(names, 0, _FIRST_CHUNK_ROWS), None)
            if table is None:
                raise pa.ArrowInvalid("fewer rows than the footer says")
            narrow.append(table)
        rows = min(table.num_rows for table in narrow)  # huge values make batches shorter
        columns = [column for table in narrow for column in table.slice(0, rows).columns]
        return pa.table(columns, schema=pa.schema([f for table in narrow for f in table.schema]))

    def _batches(self, ordinal: int, rows: int, chunk_rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
        if rows <= chunk_rows:
            parquet = self._handle.parquet
            yield parquet.read_row_group(ordinal, columns=self._names, use_threads=False)
            return
        yield from self._batches_of(self._names, ordinal, chunk_rows)

    def _batches_of(
        self, names: Sequence[str], ordinal: int, chunk_rows: int
    ) -> Iterator[pa.Table]:
        batches = self._handle.parquet.iter_batches(
            chunk_rows, row_groups=[ordinal], columns=names, use_threads=False
        )
        for batch in batches:
            yield pa.Table.from_batches([batch])

    def _chunk(self, group: _Group, read: int, table: pa.Table, *, left: int) -> Chunk:
        is_valid = is_text_valid(table)
        if table.num_rows > left:
            raise pa.ArrowInvalid("more rows than the footer says")
        wanted = take_columns(table, self._columns, self._partitions)
        chunk = Chunk(group.file, wanted, Positions(first=group.first_row + read))
        return chunk if is_valid else without_invalid_text(chunk)

    def _corrupt(self, group: _Group, read: int, rows: int, what: str) -> Iterator[Chunk]:
        message = f"row group {group.ordinal} cannot be decoded ({what})"
        return self._unreadable(group, read, rows, error="CorruptRowGroup", message=message)

    def _too_large(self, group: _Group, read: int, rows: int) -> Iterator[Chunk]:
        message = f"row group {group.ordinal} needs more memory than the scorer has"
        return self._unreadable(group, read, rows, error="OutOfMemory", message=message)

    def _unreadable(
        self, group: _Group, read: int, rows: int, *, error: str, message: str
    ) -> Iterator[Chunk]:
        lost = range(group.first_row + read, group.first_row + rows)
        empty = empty_table(self._columns)
        return unreadable_chunks(group.file, lost, empty=empty, error=error, message=message)


def _file_columns(columns: Sequence[ColumnPath], partitions: dict[str, str]) -> list[str]:
    names = (".".join((path.root, *path.leaf)) for path in columns if path.root not in partitions)
    return list(dict.fromkeys(names))


def _few_at_a_time(names: Sequence[str]) -> Iterator[list[str]]:
    """Divide the columns; what belongs to one struct stays together."""
    by_root: dict[str, list[str]] = {}
    for name in names:
        by_root.setdefault(name.partition(".")[0], []).append(name)
    roots = list(by_root.values())
    for start in range(0, len(roots), _FIRST_CHUNK_COLUMNS):
        yield list(chain.from_iterable(roots[start : start + _FIRST_CHUNK_COLUMNS]))


def _leaf_indices(parquet: pq.ParquetFile, names: list[str]) -> list[int]:
    schema = parquet.schema
    prefixes = tuple(f"{name}." for name in names)
    exact = set(names)
    paths = ((index, schema.column(index).path) for index in range(len(schema)))
    return [index for index, path in paths if path in exact or path.startswith(prefixes)]


def _chunk_range(column: Any) -> tuple[int, int]:
    start = column.data_page_offset
    if column.dictionary_page_offset:
        start = min(start, column.dictionary_page_offset)
    return start, column.total_compressed_size
