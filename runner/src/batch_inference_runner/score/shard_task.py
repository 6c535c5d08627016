"""One attempt at one shard: slices out to threads, results back in order, files staged.

Several threads may work on one shard at the same time; what they find is written in the order of
the input, so that an output file does not depend on timing. Memory is bounded by the number of
slices that may be ahead of the one being waited for.
"""

from __future__ import annotations

import threading
import time
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from batch_inference_api.choices import DataFormat, OnError
from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.layout import REJECTS, part_stem, stage_key
from batch_inference_runner.commit.staged import (
    GIVEN_UP,
    SAMPLE_KIND,
    StagedFile,
    StagedShard,
    choose_samples,
)
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.formats.writing import DatasetWriter
from batch_inference_runner.score.rejects import REJECT_SCHEMA, samples_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.rows import Chunk
    from batch_inference_runner.score.messages import Assignment
    from batch_inference_runner.score.rejects import RejectLog
    from batch_inference_runner.score.stages import SliceResult
    from batch_inference_runner.storage.store import Store

_AHEAD = 4
"""Slices that may be in work at once, from the one that is to be written next."""


class Slice(NamedTuple):
    """Consecutive rows of one chunk: the unit of work of a thread."""

    number: int
    chunk: Chunk


class ShardOutput(NamedTuple):
    """Where and how a shard's files are staged."""

    store: Store
    config: RunnerConfig
    schema: pa.Schema
    rejects: RejectLog
    work: str
    runtime: dict[str, str]


class ShardTask:
    """One attempt at one shard. Every method may be called from any thread.

    `slice_rows` says how many rows a slice should have at the moment.
    """

    def __init__(
        self,
        assignment: Assignment,
        chunks: Iterator[Chunk],
        output: ShardOutput,
        *,
        slice_rows: Callable[[], int],
    ) -> None:
        self.assignment = assignment
        self.shard = assignment.shard.number
        self._slices = _cut(chunks, slice_rows)
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._files = _StagedFiles(assignment, output)
        self._done: dict[int, tuple[Slice, SliceResult]] = {}
        self._taken = 0
        self._written = 0
        self._exhausted = False
        self._ahead = 1 if assignment.frugal else _AHEAD
        self._on_error = output.config.error_policy.on_error
        self._rejects = output.rejects
        self._began = time.monotonic()
        self.rows_scored = 0

    def take(self) -> Slice | None:
        """Read the next slice; None if there is none, or none for now.

        Raises:
            VersionChanged, NotFound, StoreError: the input changed or could not be fetched.
        """
        with self._reading:
            if not self.has_slices:
                return None
            chunk = next(self._slices, None)
            if chunk is None:
                self._exhausted = True
                return None
            self._taken += 1
            return Slice(self._taken - 1, chunk)

    @property
    def has_slices(self) -> bool:
        """Whether a slice may be taken now."""
        return not self._exhausted and self._taken - self._written < self._ahead

    def give(self, part: Slice, result: SliceResult) -> None:
        """Hand in what became of a slice; whatever is next in order is written."""
        with self._writing:
            if self._files.finished:
                return  # another thread has aborted this attempt
            self._done[part.number] = (part, result)
            self.rows_scored += part.chunk.table.num_rows
            while (ready := self._done.pop(self._written, None)) is not None:
                self._write(*ready)
                self._written += 1

    def finish(self) -> StagedShard | None:
        """Close the files when every slice was written; None if some are still in work.

        Raises:
            JobFailed: rows read are not the rows planned.
        """
        with self._writing:
            if not self._exhausted or self._taken != self._written or self._files.finished:
                return None
            planned = self.assignment.shard.rows
            return self._files.finish(planned, time.monotonic() - self._began)

    def abort(self) -> None:
        """Leave nothing behind but what garbage collection finds."""
        with self._writing:
            self._exhausted = True
            self._files.abort()

    def _write(self, part: Slice, result: SliceResult) -> None:
        rejected = pa.concat_tables(
            [
                self._rejects.of_unreadable(part.chunk.file, part.chunk.unreadable),
                self._rejects.of_errors(part.chunk, result.errors),
            ]
        )
        if rejected.num_rows and self._on_error is OnError.FAIL:
            raise JobFailed(Reason.ROW_REJECTED, _first_reject(rejected))
        self._files.write(result.output, rejected, filtered=result.filtered)


class _StagedFiles:
    """The files of an attempt, and the counts of what went into them."""

    def __init__(self, assignment: Assignment, output: ShardOutput) -> None:
        self._assignment = assignment
        self._output = output
        config = output.config.output
        self._parts = self._writer("", output.schema, config.format, config.compression)
        self._rejects: DatasetWriter | None = None
        self._written = self._rejected = self._filtered = 0
        self._samples: list[dict[str, Any]] = []
        self.finished = False

    def _writer(
        self, folder: str, schema: pa.Schema, data_format: DataFormat, compression: str
    ) -> DatasetWriter:
        shard, attempt = self._assignment.shard.number, self._assignment.attempt
        work, store = self._output.work, self._output.store
        return DatasetWriter(
            lambda path: store.open_sink(stage_key(work, shard, attempt, folder + path)),
            stem=part_stem(shard, work),
            schema=schema,
            format=data_format,
            compression=compression,
            partition_by=() if folder else self._output.config.output.partition_by,
        )

    def write(self, output: pa.Table, rejected: pa.Table, *, filtered: int) -> None:
        self._parts.write(output)
        self._written += output.num_rows
        self._filtered += filtered
        if rejected.num_rows:
            self._reject(rejected)

    def _reject(self, rejected: pa.Table) -> None:
        self._rejected += rejected.num_rows
        samples = [*self._samples, *samples_of(rejected)]
        self._samples = choose_samples(samples, itemgetter(*SAMPLE_KIND))
        if self._output.config.error_policy.on_error is not OnError.DEAD_LETTER:
            return
        if self._rejects is None:
            self._rejects = self._writer(f"{REJECTS}/", REJECT_SCHEMA, DataFormat.PARQUET, "zstd")
        self._rejects.write(rejected)

    def finish(self, planned: int | None, seconds: float) -> StagedShard:
        self.finished = True
        read = self._written + self._rejected + self._filtered
        if planned is not None and read != planned:
            raise JobFailed(
                Reason.ROW_COUNT_MISMATCH,
                f"shard {self._assignment.shard.number} has {planned} rows by the plan, but {read} "
                f"were read; the input may have changed while it was read",
            )
        files = self._staged(self._parts, "")
        if self._rejects is not None:
            files += self._staged(self._rejects, f"{REJECTS}/")
        return StagedShard(
            shard=self._assignment.shard.number,
            attempt=self._assignment.attempt,
            files=files,
            rows_read=read,
            rows_written=self._written,
            rows_rejected=self._rejected,
            rows_filtered=self._filtered,
            runtime=self._runtime(seconds),
            samples=tuple(self._samples),
        )

    def _runtime(self, seconds: float) -> dict[str, str]:
        given_up = self._assignment.given_up
        why = {} if given_up is None else {GIVEN_UP: given_up}
        return {**self._output.runtime, "seconds": f"{seconds:.3f}", **why}

    def _staged(self, writer: DatasetWriter, folder: str) -> tuple[StagedFile, ...]:
        return tuple(
            StagedFile(
                staged_key=file.written.key,
                path=folder + file.path,
                kind="rejects" if folder else "part",
                size=file.written.size,
                sha256=file.written.sha256,
                rows=file.rows,
            )
            for file in writer.finish()
        )

    def abort(self) -> None:
        self.finished = True
        self._parts.abort()
        if self._rejects is not None:
            self._rejects.abort()


def _cut(chunks: Iterator[Chunk], slice_rows: Callable[[], int]) -> Iterator[Chunk]:
    """Cut chunks into slices of the size that is right at the moment; unreadable rows go first."""
    for chunk in chunks:
        start, total = 0, chunk.table.num_rows
        unreadable = chunk.unreadable
        while start < total or unreadable:
            stop = min(start + slice_rows(), total)
            yield chunk.slice(start, stop)._replace(unreadable=unreadable)
            start, unreadable = stop, ()


def _first_reject(rejected: pa.Table) -> str:
    first = rejected.slice(0, 1).to_pylist()[0]
    place = f"row {first['row']}" if first["row"] is not None else f"byte {first['byte_offset']}"
    return (
        f"{first['file']}, {place}, failed at stage {first['stage']}: {first['error']}: "
        f"{first['message']}; to go on without such rows set spec.errorPolicy.onError to "
        f"DeadLetter or Skip"
    )
