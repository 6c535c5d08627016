"""Arrow IPC, file and stream format: record batches with their row numbers.

The file format (also Feather version 2) is cut at record batches. The stream format has no footer:
to find a batch everything before it must be read, so a stream is one unit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.arrow_headers import batch_rows, message_rows
from batch_inference_runner.formats.columns import ColumnPath, empty_table, take_columns
from batch_inference_runner.formats.foreign_file import DECODE_ERRORS, ForeignFile, read_pieces
from batch_inference_runner.formats.read_ahead import read_ahead
from batch_inference_runner.formats.schemas import plain_schema
from batch_inference_runner.formats.unreadable import unreadable_chunks
from batch_inference_runner.formats.unreadable_files import unreadable_file
from batch_inference_runner.formats.valid_text import is_text_valid, without_invalid_text
from batch_inference_runner.plan.plan import FileInventory, Unit
from batch_inference_runner.rows import CHUNK_ROWS, Chunk, Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.formats.read_ahead import Watched
    from batch_inference_runner.plan.plan import InputFile, Piece, Shard

_FILE_MAGIC = b"ARROW1"
_FEATHER_V1_MAGIC = b"FEA1"


class _Batches:
    """The record batches of one open file, whichever of the two formats it has."""

    def __init__(self, foreign: ForeignFile, wanted: Sequence[str] | None = None) -> None:
        magic = bytes(foreign.source.read_at(0, min(6, foreign.size)))
        if magic.startswith(_FEATHER_V1_MAGIC):
            raise pa.ArrowInvalid("Feather version 1 is not supported")
        self.is_file = magic == _FILE_MAGIC
        self._foreign = foreign
        self.schema = self._open(None).schema
        self._reader = self._open(self._included(wanted))

    def _included(self, wanted: Sequence[str] | None) -> list[int]:
        indices = [self.schema.get_field_index(name) for name in wanted or ()]
        # an empty list would mean all fields; one is enough to have rows
        return sorted({index for index in indices if index >= 0}) or [0]

    def _open(self, included: list[int] | None) -> pa.ipc.RecordBatchFileReader:
        self._foreign.arrow.seek(0)
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=included)
        open_reader = pa.ipc.open_file if self.is_file else pa.ipc.open_stream
        return open_reader(self._foreign.arrow, options=options)

    def get(self, ordinal: int) -> pa.RecordBatch:
        """Decode a batch; those of a stream in order only. Raises StopIteration at its end."""
        return self._reader.get_batch(ordinal) if self.is_file else self._reader.read_next_batch()


def inspect_arrow(file: InputFile, open_file: OpenFile) -> tuple[pa.Schema, FileInventory]:
    """Read the schema and count the rows of every batch.

    Raises InvalidJob(INPUT_CORRUPT, SCHEMA_MISMATCH) naming a file where that is not possible.
    """
    foreign = ForeignFile(file, open_file)
    try:
        batches = _Batches(foreign)
        if len(batches.schema) == 0:
            raise pa.ArrowInvalid("no columns")
        units = _file_units(foreign) if batches.is_file else _stream_units(foreign)
        return plain_schema(batches.schema), FileInventory(units)
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        foreign.raise_failed_fetch()
        problem = "neither as a file nor as a stream"
        raise unreadable_file(foreign, DataFormat.ARROW, problem, error) from error
    finally:
        foreign.close()


def _file_units(foreign: ForeignFile) -> tuple[Unit, ...]:
    rows = batch_rows(foreign.source)
    return tuple(
        Unit(index, index + 1, foreign.size // len(rows), count) for index, count in enumerate(rows)
    )


def _stream_units(foreign: ForeignFile) -> tuple[Unit, ...]:
    """Count the rows of a stream, all of which is one unit, without decoding a column."""
    foreign.arrow.seek(0)
    rows = 0
    for message in pa.ipc.MessageReader.open_stream(foreign.arrow):
        if message.type == "record batch":
            rows += message_rows(message)
    if foreign.arrow.tell() < foreign.size:
        # What lies behind, such as a second stream that was appended, no reader would ever see.
        raise InvalidJob(
            Reason.INPUT_CORRUPT,
            f"{foreign.file.uri!r} goes on behind the end of its Arrow stream, and what lies there "
            "would be lost: write each stream to a file of its own, or leave the file out",
        )
    return (Unit(0, 1, foreign.size, rows),)


class ArrowReader:
    """Reads shards of Arrow IPC files; see reading.ShardReader and, for `watched`, open_reader."""

    def __init__(
        self,
        files: Sequence[InputFile],
        open_file: OpenFile,
        *,
        columns: Sequence[ColumnPath],
        watched: Watched,
    ) -> None:
        self._files = files
        self._open_file = open_file
        self._columns = tuple(columns)
        self._watched = watched

    def chunks(self, shard: Shard, *, frugal: bool = False) -> Iterator[Chunk]:
        read = partial(self._piece, shard=shard.number, frugal=frugal)
        return read_pieces(shard, read, files=self._files, open_file=self._open_file)

    def close(self) -> None:
        """Nothing stays open between shards."""

    def _piece(
        self, foreign: ForeignFile, piece: Piece, *, shard: int, frugal: bool
    ) -> Iterator[Chunk]:
        partitions = dict(foreign.file.partition_values)
        names = [path.root for path in self._columns if path.root not in partitions]
        first = piece.first_row or 0
        stop = first + (piece.rows or 0)
        decoded = self._decoded(foreign, piece, names=names, shard=shard, frugal=frugal)
        with closing(decoded):
            for ordinal, rows, batch in decoded:
                try:
                    chunks = self._chunks(piece.file, first, batch, partitions)
                except (MemoryError, *DECODE_ERRORS) as error:
                    if isinstance(error, MemoryError) and (not frugal or rows is None):
                        raise  # rows of a stream that come later are not lost, only out of reach
                    foreign.raise_failed_fetch()
                    lost = stop - first if rows is None else rows
                    places = range(first, first + lost)
                    yield from self._unreadable(piece, places, ordinal=ordinal, error=error)
                    first += lost
                    continue
                assert rows is not None  # only of what could not be decoded
                first += rows
                yield from chunks
                del batch, chunks  # or the next one would be decoded beside it
        if first < stop:
            missing = range(first, stop)
            yield from self._unreadable(piece, missing, ordinal=piece.start, error=EOFError())

    def _decoded(
        self, foreign: ForeignFile, piece: Piece, *, names: list[str], shard: int, frugal: bool
    ) -> Generator[tuple[int, int | None, pa.RecordBatch | Exception], None, None]:
        batches = _Batches(foreign, names)
        if not batches.is_file:
            yield from _stream(batches)
            return
        ordinals = range(piece.start, piece.stop)
        counts: list[int] = []  # what is decoded counts itself: mostly no header is needed
        watched = partial(self._watched, shard)
        decoded = _file(foreign, batches, ordinals, watched=watched, frugal=frugal)
        with closing(decoded):
            for ordinal, batch in decoded:
                if isinstance(batch, Exception):
                    foreign.raise_failed_fetch()
                    counts = counts or batch_rows(foreign.source, ordinals)
                    yield ordinal, counts[ordinal - piece.start], batch
                else:
                    yield ordinal, batch.num_rows, batch
                del batch

    def _chunks(
        self, file: int, first: int, batch: pa.RecordBatch | Exception, partitions: dict[str, str]
    ) -> list[Chunk]:
        if isinstance(batch, Exception):
            raise batch
        table = pa.Table.from_batches([batch])
        is_valid = is_text_valid(table)
        sliced = _sliced(file, take_columns(table, self._columns, partitions), first)
        return [chunk if is_valid else without_invalid_text(chunk) for chunk in sliced]

    def _unreadable(
        self, piece: Piece, rows: range, *, ordinal: int, error: Exception
    ) -> Iterator[Chunk]:
        kind = "CorruptRecordBatch"
        message = f"record batch {ordinal} cannot be decoded ({type(error).__name__})"
        if isinstance(error, MemoryError):
            kind = "OutOfMemory"
            message = f"record batch {ordinal} needs more memory than the scorer has"
        empty = empty_table(self._columns)
        return unreadable_chunks(piece.file, rows, empty=empty, error=kind, message=message)


def _sliced(file: int, table: pa.Table, first: int) -> Iterator[Chunk]:
    for start in range(0, table.num_rows, CHUNK_ROWS):
        part = table.slice(start, min(CHUNK_ROWS, table.num_rows - start))
        yield Chunk(file, part, Positions(first=first + start))


def _attempt(batches: _Batches, ordinal: int) -> pa.RecordBatch | Exception:
    try:
        return batches.get(ordinal)
    except (MemoryError, *DECODE_ERRORS) as error:
        return error


def _file(
    foreign: ForeignFile,
    batches: _Batches,
    ordinals: range,
    *,
    watched: Callable[[], AbstractContextManager[object]],
    frugal: bool,
) -> Generator[tuple[int, pa.RecordBatch | Exception], None, None]:
    """Decode batches; while one is scored the next ones, where they have to be fetched.

    It has to be closed, also behind an error. The garbage collector may do that in any thread: in
    the one that is waited for then, or in one that holds a lock which that needs.
    """
    if foreign.ranged is None or frugal:
        for ordinal in ordinals:
            if foreign.ranged is not None:
                foreign.ranged.hold([], [])  # what the batch before came from
            yield ordinal, _attempt(batches, ordinal)
        return

    def decode(ordinal: int) -> pa.RecordBatch | Exception:
        with watched():
            return _attempt(batches, ordinal)

    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as pool:
        yield from read_ahead(ordinals, decode, pool=pool)


def _stream(batches: _Batches) -> Iterator[tuple[int, int | None, pa.RecordBatch | Exception]]:
    ordinal = 0
    while True:
        try:
            batch = batches.get(ordinal)
        except StopIteration:
            return
        except (MemoryError, *DECODE_ERRORS) as error:
            yield ordinal, None, error
            return
        yield ordinal, batch.num_rows, batch
        del batch
        ordinal += 1
