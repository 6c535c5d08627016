"""A run, from opening the output to the manifest.

Listing, scheduling and committing happen in this process; everything that opens data, models or SQL
happens in scorers.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import OutputReport, RunPhase
from batch_inference_runner.commit.layout import REJECTS, SUCCESS
from batch_inference_runner.commit.outcome import run_errors
from batch_inference_runner.commit.output import Output
from batch_inference_runner.errors import JobFailed, RunnerError, Unavailable
from batch_inference_runner.progress.counters import CommittedCounts
from batch_inference_runner.redaction import redact
from batch_inference_runner.schedule.attempts import AttemptLog
from batch_inference_runner.schedule.dispatch import Dispatch
from batch_inference_runner.storage.advice import advised, reason_of
from batch_inference_runner.storage.location import open_store
from batch_inference_runner.storage.store import StoreError
from batch_inference_runner.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_inference_runner.commit.manifest import Manifest, RowTotals
    from batch_inference_runner.plan.plan import Plan
    from batch_inference_runner.progress.counters import Progress
    from batch_inference_runner.schedule.launch import Launch
    from batch_inference_runner.schedule.ray_nodes import RayNodes

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended well. `already_complete`: an equal run had finished before."""

    manifest: Manifest
    already_complete: bool


def run(
    launched: Launch,
    *,
    progress: Progress,
    members: RayNodes | None = None,
    settle: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Score the dataset, or what is left of it, and publish the manifest.

    Args:
        launched: the run, with its first scorer at work.
        progress: is told how far the run is.
        members: other workers of the run; None: this process's own scorers are all.
        settle: told the outcome once it stands, before the output is cleaned.

    Raises:
        JobFailed: the job cannot succeed as it is.
        Unavailable: a store or a process was lost; a rerun resumes.
        Interrupted: the run was asked to stop.
    """
    with _store_failures_explained(), ExitStack() as cleanup:
        return _Run(launched, progress, settle, cleanup).score(members)


def validate(launched: Launch) -> Plan:
    """Make the plan of a job and write nothing. Raises as `run` does."""
    with _store_failures_explained(), ExitStack() as cleanup:
        cleanup.callback(launched.slots[0].close)
        return launched.planner.make_plan()


class _Run:
    """The state that the steps of one run share."""

    def __init__(
        self,
        launched: Launch,
        progress: Progress,
        settle: Callable[[Outcome], None],
        cleanup: ExitStack,
    ) -> None:
        self._launched = launched
        self._config = launched.config
        self._events = launched.events
        self._progress = progress
        self._settle = settle
        self._cleanup = cleanup

    def score(self, members: RayNodes | None) -> Outcome:
        self._start_slots()
        if members is not None:
            self._cleanup.callback(members.close)
            members.start(self._events.put)
        output = self._open_output()
        if output.complete is not None:
            counts = output.complete.counts_of(output.plan.hash)
            self._count(counts, shards=len(output.plan.shards))
            return self._finalize(output, audit={})
        dispatch = self._dispatch(output, members)
        self._progress.phase(RunPhase.FINALIZING)
        return self._finalize(output, audit=self._audit(dispatch))

    def _start_slots(self) -> None:
        first, *others = self._launched.slots
        self._cleanup.callback(first.close)
        for slot in others:
            slot.start(self._events.put)
            self._cleanup.callback(slot.close)

    def _open_output(self) -> Output:
        self._progress.phase(RunPhase.PLANNING)
        with run_errors("opening the output", missing=Reason.INVALID_SPEC):
            store = open_store(self._config.output.location)
        planner = self._launched.planner
        output = Output.open(store, self._config, planner.make_plan, begin_plan=planner.begin)
        planner.abandon()  # if somebody else has planned meanwhile
        added = planner.find_added(output.plan) if output.resumed else ()
        if added:
            _logger.warning(
                "files were added to the input after it was planned: they are no part of this "
                "result; score them with another job",
                extra={"files": len(added), "first": redact(added[0])},
            )
        return output

    def _dispatch(self, output: Output, members: RayNodes | None) -> Dispatch:
        attempts = AttemptLog(open_store(self._config.output.location), output.work)
        dispatch = Dispatch(
            self._config,
            output,
            self._events,
            progress=self._progress,
            stop=self._launched.stop,
            attempts=attempts,
        )
        self._progress.phase(RunPhase.RUNNING)
        for slot in self._launched.slots:
            dispatch.add(slot)
        on_other = partial(members.on_event, dispatch) if members else _unexpected
        try:
            dispatch.run(deadline=self._launched.deadline, on_other=on_other)
        except (RunnerError, StoreError):
            attempts.stop()
            raise
        return dispatch

    def _finalize(self, output: Output, *, audit: dict[str, Any]) -> Outcome:
        already_complete = output.complete is not None

        def on_success(manifest: Manifest) -> None:
            self._show(manifest)
            self._settle(Outcome(manifest, already_complete))

        manifest = output.finalize(run=audit, on_success=on_success)
        return Outcome(manifest, already_complete)

    def _audit(self, dispatch: Dispatch) -> dict[str, Any]:
        report = self._progress.report()
        first_row = dispatch.first_row_at
        since_start = None if first_row is None else first_row - _process_started_at()
        return {
            "runnerVersion": VERSION,
            "number": report.run_number,
            "attempt": report.attempt,
            "cpuSeconds": report.cpu_seconds,
            "failedShards": {str(shard): why for shard, why in dispatch.failed_shards.items()},
            "timings": {
                "seconds": round(time.monotonic() - self._launched.began, 3),
                "firstRowSeconds": None if since_start is None else round(since_start, 3),
            },
        }

    def _count(self, counts: RowTotals, *, shards: int) -> None:
        """Report a result that was complete before: its totals, and every shard as committed."""
        self._progress.planned(shards=shards, rows=counts.read)
        totals = CommittedCounts(0, counts.written, counts.rejected, counts.filtered)
        others = (CommittedCounts(shard, written=0) for shard in range(1, shards))
        self._progress.resumed([totals, *others])

    def _show(self, manifest: Manifest) -> None:
        root = self._config.output.location.uri.rstrip("/")
        self._progress.output(
            OutputReport(
                storage_uri=f"{root}/",
                manifest_uri=f"{root}/{SUCCESS}",
                rejects_uri=f"{root}/{REJECTS}/" if manifest.rejects else None,
                files=len(manifest.files),
                bytes=sum(file.bytes for file in manifest.files),
            )
        )


def _unexpected(event: object) -> None:
    raise TypeError(f"nobody handles {type(event).__name__!r}")


def _process_started_at() -> float:
    """When this process was started, on CLOCK_MONOTONIC, in seconds."""
    stat = Path("/proc/self/stat").read_text()
    ticks = int(stat.rsplit(")", 1)[1].split()[19])  # field 22 of proc(5): since boot
    suspended = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return ticks / os.sysconf("SC_CLK_TCK") - suspended


@contextmanager
def _store_failures_explained() -> Iterator[None]:
    """Say of a store's failure whether it is worth trying again."""
    try:
        yield
    except StoreError as error:
        reason = reason_of(error)
        if reason is None:
            raise Unavailable(str(error)) from error
        raise JobFailed(reason, advised(error)) from error
