"""Counts what a run has done, from any thread, and tells it as a ProgressReport."""

from __future__ import annotations

import resource
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_inference_api.runner_contract import (
    JobIdentity,
    ModelReport,
    OutputReport,
    ProgressReport,
    RowCounts,
    RowFailure,
    RunPhase,
    ShardCounts,
    WorkerCounts,
)
from batch_inference_runner.progress.failures import with_samples
from batch_inference_runner.progress.index_ranges import compress
from batch_inference_runner.progress.rate import SlidingRate
from batch_inference_runner.progress.report import fit_report
from batch_inference_runner.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_PENDING, _ACTIVE, _COMMITTED, _FAILED = range(4)


class CommittedCounts(NamedTuple):
    """Rows of one shard that an earlier attempt committed."""

    shard: int
    written: int
    rejected: int = 0
    filtered: int = 0
    samples: tuple[Mapping[str, Any], ...] = ()
    given_up: bool = False
    """The shard failed for good: its rows are all rejected, and it counts as failed."""


class Progress:
    """The counters of one run; every method may be called from any thread.

    `processed` and the percentage are high-water marks: they include rows in flight and never go
    back, also when a shard is lost. Committed rows and shards are counted apart. The rate is of
    what this driver scores, also again.

    Args:
        job: whose run it is.
        run_number: which run of the job.
        attempt: which start of a driver in this run, as far as is known.
        processed: the high-water mark of an earlier driver in the same place.
        began: when the first driver in this place began, on `clock`; None: now.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        job: JobIdentity,
        *,
        run_number: int = 1,
        attempt: int = 1,
        processed: int = 0,
        began: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._run_number = run_number
        self._attempt = attempt
        self._clock = clock
        self._lock = threading.Lock()
        self._beat_at = clock()
        self._started_at = self._beat_at if began is None else began
        self._running_since: float | None = None
        self._running_until: float | None = None
        self._phase = RunPhase.STARTING
        self._states = bytearray()
        self._counts = [0, 0, 0, 0]
        self._rows_total: int | None = None
        self._written = self._rejected = self._filtered = 0
        self._resumed_rows = 0
        self._in_flight: dict[int, int] = {}
        self._in_flight_rows = 0
        self._processed = processed
        self._scored = 0
        self._scored_at: float | None = None
        self._is_catching_up = processed > 0
        self._rows_rate = SlidingRate()
        self._shards_rate = SlidingRate()
        self._workers = WorkerCounts()
        self._model: ModelReport | None = None
        self._output: OutputReport | None = None
        self._samples: Sequence[RowFailure] = ()
        self._usage: dict[str, tuple[float, float | None]] = {}
        self._final: ProgressReport | None = None

    def phase(self, phase: RunPhase) -> None:
        """Say what the driver does now."""
        with self._lock:
            self._beat_at = now = self._clock()
            if self._phase is RunPhase.RUNNING and phase is not RunPhase.RUNNING:
                self._running_until = now
            self._phase = phase
            if phase is RunPhase.RUNNING and self._running_since is None:
                self._running_since = now
                self._rows_rate.start(now, self._scored)
                self._shards_rate.start(now, self._counts[_COMMITTED])

    def attempt(self, number: int) -> None:
        """Say which start of a driver this is, if it is above what is known."""
        with self._lock:
            self._attempt = max(self._attempt, number)

    def planned(self, *, shards: int, rows: int | None) -> None:
        """Say how much there is to do; `rows` is None where only reading can tell."""
        with self._lock:
            self._states = bytearray(shards)
            self._counts = [shards, 0, 0, 0]
            self._rows_total = rows

    def resumed(self, counts: Sequence[CommittedCounts]) -> None:
        """Take over what an earlier attempt committed; it was not scored by this driver."""
        with self._lock:
            for shard in counts:
                self._commit(shard)
            self._is_catching_up = False
            self._resumed_rows = self._committed_rows()
            self._scored, self._scored_at = 0, None
            now = self._clock()
            self._rows_rate.start(now, self._scored)
            self._shards_rate.start(now, self._counts[_COMMITTED])

    def started(self, shard: int) -> None:
        """A scorer works on the shard."""
        with self._lock:
            if self._state(shard) == _PENDING:
                self._move(shard, _ACTIVE)

    def advanced(self, shard: int, rows: int) -> None:
        """`rows` rows of the shard are in flight so far; ignored once the shard is settled."""
        with self._lock:
            state = self._state(shard)
            if state == _PENDING:
                self._move(shard, _ACTIVE)
            elif state != _ACTIVE:
                return
            more = rows - self._in_flight.get(shard, 0)
            self._in_flight[shard] = rows
            self._in_flight_rows += more
            self._note_scored(more)

    def lost(self, shard: int) -> None:
        """The shard's attempt is gone; it will be scored again."""
        with self._lock:
            if self._state(shard) == _ACTIVE:
                self._drop_in_flight(shard)
                self._move(shard, _PENDING)

    def failed(self, shard: int) -> None:
        """The shard failed for good."""
        with self._lock:
            if self._state(shard) != _COMMITTED:
                self._drop_in_flight(shard)
                self._move(shard, _FAILED)

    def committed(
        self,
        shard: int,
        *,
        written: int,
        rejected: int,
        filtered: int,
        samples: Iterable[Mapping[str, Any]] = (),
        given_up: bool = False,
    ) -> None:
        """The shard's marker exists. Told twice, it counts once."""
        counts = CommittedCounts(shard, written, rejected, filtered, tuple(samples), given_up)
        with self._lock:
            self._commit(counts)

    def workers(self, *, desired: int, ready: int) -> None:
        """Say how many workers are wanted and how many score."""
        with self._lock:
            self._workers = WorkerCounts(desired=desired, ready=ready)

    def model(self, model: ModelReport) -> None:
        """Say what was really loaded."""
        with self._lock:
            self._model = model

    def output(self, output: OutputReport) -> None:
        """Say what was published."""
        with self._lock:
            self._output = output

    def usage(self, scorer: str, *, cpu_seconds: float, gpu_seconds: float | None = None) -> None:
        """Note what the scorer process named `scorer` has used since it began; None: no GPU."""
        with self._lock:
            self._usage[scorer] = (cpu_seconds, gpu_seconds)

    def beat(self) -> None:
        """Say that the driver's main loop is alive; `/livez` depends on it."""
        self._beat_at = self._clock()

    def seconds(self) -> float:
        """How long the run has lasted, in this place."""
        return self._clock() - self._started_at

    def seconds_since_beat(self) -> float:
        """How long ago the main loop, or anything it counts, gave a sign of life."""
        return self._clock() - self._beat_at

    @property
    def is_catching_up(self) -> bool:
        """Whether an earlier driver has told more than this one knows yet."""
        return self._is_catching_up

    def milestones(self) -> tuple[int, int, int]:
        """The attempt, the shards that need not be scored any more, and the rows processed."""
        with self._lock:
            settled = self._counts[_COMMITTED] + self._counts[_FAILED]
            return self._attempt, settled, self._processed

    def report(self) -> ProgressReport:
        """Where the run stands; after `finish`, the final report."""
        with self._lock:
            return self._final or self._report()

    def finish(
        self, phase: RunPhase, *, reason: str | None = None, message: str | None = None
    ) -> ProgressReport:
        """Close the counters and give the final report, whose JSON has at most 3.5 KiB."""
        with self._lock:
            self._is_catching_up = False
            self._phase = phase
            final = self._report().model_copy(
                update={
                    "final": True,
                    "reason": reason,
                    "message": None if message is None else redact(message),
                    "rows_per_second": self._overall_rate(),
                    "estimated_remaining_seconds": None,
                    "failures": tuple(self._samples),
                }
            )
            self._final = fit_report(final)
            return self._final

    def _state(self, shard: int) -> int:
        # Counting before `planned` is allowed to be early: a shard it does not know is ignored.
        return self._states[shard] if shard < len(self._states) else _FAILED

    def _move(self, shard: int, state: int) -> None:
        self._beat_at = self._clock()
        self._counts[self._states[shard]] -= 1
        self._counts[state] += 1
        self._states[shard] = state

    def _drop_in_flight(self, shard: int) -> None:
        self._in_flight_rows -= self._in_flight.pop(shard, 0)

    def _commit(self, counts: CommittedCounts) -> None:
        if counts.shard >= len(self._states) or self._states[counts.shard] == _COMMITTED:
            return
        known = self._known_rows()
        self._drop_in_flight(counts.shard)
        self._move(counts.shard, _FAILED if counts.given_up else _COMMITTED)
        self._written += counts.written
        self._rejected += counts.rejected
        self._filtered += counts.filtered
        self._samples = with_samples(self._samples, counts.samples)
        self._note_scored(self._known_rows() - known)

    def _committed_rows(self) -> int:
        return self._written + self._rejected + self._filtered

    def _known_rows(self) -> int:
        return self._committed_rows() + self._in_flight_rows

    def _note_scored(self, rows: int) -> None:
        now = self._beat_at = self._clock()
        if rows > 0:
            self._scored += rows
            self._scored_at = now
        self._processed = max(self._processed, self._known_rows())
        self._rows_rate.note(now, self._scored)
        self._shards_rate.note(now, self._counts[_COMMITTED])

    def _report(self) -> ProgressReport:
        now = self._clock()
        if self._phase is RunPhase.RUNNING:
            # Without this a run that stalls would go on showing its last good rate.
            self._rows_rate.note(now, self._scored)
            self._shards_rate.note(now, self._counts[_COMMITTED])
        rate = self._rows_rate.per_second() if self._running_since is not None else None
        cpu_seconds, gpu_seconds = self._used()
        return ProgressReport(
            job=self._job,
            run_number=self._run_number,
            attempt=self._attempt,
            phase=self._phase,
            rows=self._row_counts(),
            shards=self._shard_counts(),
            workers=self._workers,
            percentage=self._percentage(),
            rows_per_second=None if rate is None else round(rate),
            estimated_remaining_seconds=self._remaining_seconds(rate),
            idle_seconds=None if self._scored_at is None else int(now - self._scored_at),
            elapsed_seconds=int(now - self._started_at),
            cpu_seconds=round(cpu_seconds),
            gpu_seconds=None if gpu_seconds is None else round(gpu_seconds),
            model=self._model,
            output=self._output,
        )

    def _row_counts(self) -> RowCounts:
        return RowCounts(
            total=self._rows_total,
            processed=self._processed,
            written=self._written,
            rejected=self._rejected,
            filtered=self._filtered,
        )

    def _shard_counts(self) -> ShardCounts:
        return ShardCounts(
            total=len(self._states),
            pending=self._counts[_PENDING],
            active=self._counts[_ACTIVE],
            succeeded=self._counts[_COMMITTED],
            failed=self._counts[_FAILED],
            completed_indexes=compress(self._states, _COMMITTED),
            failed_indexes=compress(self._states, _FAILED),
        )

    def _percentage(self) -> int | None:
        if self._phase is RunPhase.SUCCEEDED:
            return 100
        if self._rows_total:
            share = self._processed / self._rows_total
        elif self._states:
            share = self._counts[_COMMITTED] / len(self._states)
        else:
            return None
        return min(99, int(100 * share))

    def _remaining_seconds(self, rows_per_second: float | None) -> int | None:
        if self._phase is not RunPhase.RUNNING:
            return None
        if self._rows_total is not None:
            remaining, rate = self._rows_total - self._known_rows(), rows_per_second
        else:
            remaining = self._counts[_PENDING] + self._counts[_ACTIVE]
            rate = self._shards_rate.per_second()
        return round(max(0, remaining) / rate) if rate else None

    def _overall_rate(self) -> int | None:
        if self._running_since is None:
            return None
        # Publishing and cleaning up took time too, but scored nothing.
        elapsed_seconds = (self._running_until or self._clock()) - self._running_since
        scored = self._processed - self._resumed_rows
        return round(scored / elapsed_seconds) if elapsed_seconds > 0 else None

    def _used(self) -> tuple[float, float | None]:
        own = resource.getrusage(resource.RUSAGE_SELF)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = sum(cpu for cpu, _ in self._usage.values())
        # The kernel counts a child once it was reaped; scorers tell while they live. Both include
        # the same scorers in the end, so the larger one is right and their sum is not.
        children = max(told, ended.ru_utime + ended.ru_stime)
        held = [gpu for _, gpu in self._usage.values() if gpu is not None]
        return own.ru_utime + own.ru_stime + children, sum(held) if held else None
