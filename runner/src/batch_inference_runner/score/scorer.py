"""What a scorer does with each message."""

from __future__ import annotations

import os
import resource
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed, ProcessBroken, Unavailable
from batch_inference_runner.models.model_file import fetch_model
from batch_inference_runner.models.onnx import runtime_version
from batch_inference_runner.score.computing import ComputingProcess, ComputingThreads
from batch_inference_runner.score.config_view import pin_batch_size, read_config
from batch_inference_runner.score.first_rows import chunks_from, probe_on_real_rows
from batch_inference_runner.score.messages import (
    Beat,
    Open,
    Prepare,
    Prepared,
    Ready,
    Refused,
    Score,
    Unreachable,
    Withdraw,
    Withdrawn,
)
from batch_inference_runner.score.preparation import (
    check_details,
    compile_stages,
    details_of,
    inspect_inputs,
    reader_for,
    schema_of,
    schema_to_read,
)
from batch_inference_runner.score.rejects import RejectLog, unread_chunks
from batch_inference_runner.score.shard_task import ShardOutput, ShardTask
from batch_inference_runner.score.work_pool import WorkPool
from batch_inference_runner.score.workspace import fresh_workspace
from batch_inference_runner.storage.advice import advised, reason_of
from batch_inference_runner.storage.location import open_store
from batch_inference_runner.storage.store import NotFound, StoreError, VersionChanged
from batch_inference_runner.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.plan.plan import InputFile
    from batch_inference_runner.rows import Chunk
    from batch_inference_runner.score.messages import Assignment, Message
    from batch_inference_runner.score.stages import Stages

_HUNG = 3
_LONGEST_PREPARATION_SECONDS = 1800.0
"""CPU time for inspecting one file, or for loading the model: far beyond what either takes."""
_LONGEST_STEP_SECONDS = 600.0
"""CPU time for reading a chunk, or writing a few: usually less than a second. What waits for a
store, however long, does not come near it."""
_BROKEN = 4
"""Status of a process whose libraries are in no state to go on with: it counts as a crash."""
_LONGEST_SEARCH_SECONDS = 2.0
"""For rows on which to try the model, beyond the first chunk: the first row waits for it."""
_MOST_KEPT_BYTES = 32 * 1024 * 1024


class _Probed(NamedTuple):
    """The chunk on which the model was probed: the first shard need not wait for it again."""

    files: tuple[InputFile, ...]
    details: dict[str, Any]
    chunk: Chunk


class Scorer:
    """Answers messages; `send` may be called from any thread."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._stages: Stages | None = None
        """What was prepared: a scorer serves one job, so opening it costs nothing more."""
        self._probed: _Probed | None = None
        self._pool: WorkPool | None = None
        pa.set_cpu_count(1)  # the work pool's threads are all that may run
        _allow_open_files()

    def handle(self, message: Message) -> None:
        """Do what a message asks for, and answer."""
        match message:
            case Prepare():
                self._answer(self._prepare, message)
            case Open():
                self._answer(self._open, message)
            case Score() if self._pool is not None:
                self._pool.add(message.assignments)
            case Withdraw() if self._pool is not None:
                self._send(Withdrawn(self._pool.withdraw(message.most)))
            case _:
                raise ValueError(f"message {type(message).__name__!r} makes no sense now")

    def beat(self, now: float) -> Beat:
        """Give a sign of life."""
        return self._pool.beat(now) if self._pool else Beat({}, (), time.process_time())

    def _answer(self, work: Callable[..., Message], message: Prepare | Open) -> None:
        try:
            answer = work(message)
        except JobFailed as error:
            answer = Refused(error.reason, error.message, invalid=isinstance(error, InvalidJob))
        except ProcessBroken:
            raise  # which ends this process
        except Unavailable as error:
            answer = Unreachable(str(error))
        except (VersionChanged, NotFound) as error:
            answer = Refused(Reason.INPUT_CHANGED, str(error), invalid=True)
        except StoreError as error:
            answer = Unreachable(advised(error), reason_of(error))
        self._send(answer)

    def _prepare(self, message: Prepare) -> Prepared:
        _limit_memory(message.memory_bytes)
        config = read_config(message.config)
        with _computing() as computing, _enough_memory_for("inspecting the input"):
            inspection = inspect_inputs(config, message.files, on_open=computing.progressed)
        stages = self._load(message, config, inspection.schema)
        schema = schema_to_read(config, inspection.schema, stages)
        first = None
        if message.probe:
            reader = reader_for(config, schema, message.files, stages.columns, watched=nullcontext)
            limit = config.execution.batch_timeout_seconds
            with _ends_process_after(limit), _enough_memory_for("scoring the first rows"):
                seconds = min(_LONGEST_SEARCH_SECONDS, limit / 2)
                first = probe_on_real_rows(stages, reader, inspection.inventories, seconds=seconds)
        details = details_of(schema, stages)
        if first is not None and first.table.get_total_buffer_size() <= _MOST_KEPT_BYTES:
            self._probed = _Probed(message.files, details, first)
        return Prepared(details, tuple(inspection.inventories))

    def _open(self, message: Open) -> Ready:
        _limit_memory(message.memory_bytes)
        config = read_config(message.config)
        schema = schema_of(message.details)
        if config.execution.batch_size is None:
            config = pin_batch_size(config, message.details["batchSize"])
        stages = self._stages or self._load(message, config, schema)
        check_details(message.details, schema, stages)
        self._pool = self._start_pool(message, config, schema, stages)
        model = stages.model
        return Ready(stages.digest, model.provider, model.batch_size)

    def _chunk_of(self, plan: Open) -> Chunk | None:
        """The first chunk of a plan, if it is at hand."""
        probed = self._probed
        if probed is None or (probed.files, probed.details) != (plan.files, plan.details):
            return None
        return probed.chunk

    def _load(self, message: Prepare | Open, config: RunnerConfig, schema: pa.Schema) -> Stages:
        with _computing(), _enough_memory_for("loading the model"):
            with fresh_workspace() as folder:
                model = fetch_model(config.model, folder)
            stages = compile_stages(config, schema, model, memory_bytes=message.memory_bytes)
        self._stages = stages
        return stages

    def _start_pool(
        self, message: Open, config: RunnerConfig, schema: pa.Schema, stages: Stages
    ) -> WorkPool:
        computing = ComputingThreads(_LONGEST_STEP_SECONDS)
        reader = reader_for(
            config, schema, message.files, stages.columns, watched=computing.watched
        )
        first_chunk = self._chunk_of(message)
        uris = [file.uri for file in message.files]
        output = ShardOutput(
            store=open_store(config.output.location),
            config=config,
            schema=stages.output_schema,
            rejects=RejectLog(uris, config.input.key_field, config.input.format.is_text),
            work=message.work,
            runtime={
                "runner": VERSION,
                "onnxruntime": runtime_version(),
                "pyarrow": pa.__version__,
                "executionProvider": stages.model.provider,
            },
        )

        def chunks_of(assignment: Assignment) -> Iterable[Chunk]:
            if assignment.given_up is not None:
                empty = stages.input_schema.empty_table()
                return unread_chunks(assignment.shard, assignment.given_up, empty)
            if assignment.frugal:
                return reader.chunks(assignment.shard, frugal=True)
            return chunks_from(first_chunk, reader, assignment.shard)

        def open_task(assignment: Assignment, slice_rows: Callable[[], int]) -> ShardTask:
            return ShardTask(assignment, iter(chunks_of(assignment)), output, slice_rows=slice_rows)

        return WorkPool(
            stages,
            open_task,
            self._send,
            threads=message.threads,
            batch_timeout_seconds=config.execution.batch_timeout_seconds,
            computing=computing,
            end_process=partial(os._exit, _BROKEN),
        )


@contextmanager
def _ends_process_after(seconds: float) -> Iterator[None]:
    """End a process that hangs in native code; the driver goes on without probing."""
    timer = threading.Timer(seconds, os._exit, [_HUNG])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _computing() -> ComputingProcess:
    """End a process that loops in a parser or a loader; the driver starts another one."""
    return ComputingProcess(_LONGEST_PREPARATION_SECONDS, partial(os._exit, _HUNG))


@contextmanager
def _enough_memory_for(doing: str) -> Iterator[None]:
    """Refuse the job if memory does not suffice; nothing else uses it while a scorer prepares."""
    try:
        yield
    except MemoryError as error:
        advice = "raise spec.workers.resources.limits.memory"
        what = str(error) or "an allocation failed"
        text = f"{doing} needs more memory than the scorer has: {what}; {advice}"
        raise InvalidJob(Reason.OUT_OF_MEMORY, text) from error


def _allow_open_files() -> None:
    """Raise the soft limit: partitioned output holds a file open for each folder with many rows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _limit_memory(memory_bytes: int) -> None:
    """Make allocations beyond the scorer's share fail, instead of having the kernel kill it."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
