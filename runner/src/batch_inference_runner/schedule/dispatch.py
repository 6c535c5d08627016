"""The loop: assignments out to scorers, events in, until every shard is committed or given up.

One thread owns all of the state in here; everything else (scorers' messages, commits, new nodes)
arrives through one queue.
"""

from __future__ import annotations

import queue
import time
import uuid
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ModelReport
from batch_inference_runner.commit.staged import GIVEN_UP, StagedShard
from batch_inference_runner.errors import Interrupted, InvalidJob, JobFailed
from batch_inference_runner.progress.counters import CommittedCounts
from batch_inference_runner.schedule.backlog import Backlog, Loss
from batch_inference_runner.schedule.committer import CommitFailed, Committed, Committer
from batch_inference_runner.schedule.error_policy import check_rejects, too_many_failed
from batch_inference_runner.schedule.outage import Outage
from batch_inference_runner.schedule.rebalance import rebalance
from batch_inference_runner.schedule.slot import Exited, Slot, SlotEvent, StartFailures
from batch_inference_runner.score.messages import (
    Assignment,
    Beat,
    FailureKind,
    FirstRow,
    Open,
    Ready,
    Refused,
    Score,
    ShardFailed,
    Staged,
    Started,
    Unreachable,
    Withdrawn,
)
from batch_inference_runner.storage.advice import advised, reason_of
from batch_inference_runner.storage.store import Misconfigured, StoreError, VolumeFull

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.commit.output import Output
    from batch_inference_runner.progress.counters import Progress
    from batch_inference_runner.schedule.attempts import AttemptLog
    from batch_inference_runner.schedule.deadline import Deadline
    from batch_inference_runner.score.messages import Message

_TICK_SECONDS = 0.2
_BEAT_DEADLINE_SECONDS = 20.0
"""A scorer that gave no sign of life for so long is stopped, or stuck in native code."""
_OPEN_DEADLINE_SECONDS = 300.0


class Dispatch:
    """One run's way from the first shard to the last commit."""

    def __init__(
        self,
        config: RunnerConfig,
        output: Output,
        events: queue.SimpleQueue[object],
        *,
        progress: Progress,
        stop: Event,
        attempts: AttemptLog,
    ) -> None:
        self._config = config
        self._output = output
        self._plan = output.plan
        self._events = events
        self._progress = progress
        self._stop = stop
        self._attempts = attempts
        self._slots: list[Slot] = []
        self._committer = Committer(output, events.put)
        self._committing: set[int] = set()
        self._committed = self._rows_read = self._rows_rejected = 0
        self._outage = Outage()
        self._unopened: set[Slot] = set()
        self._start_failures = StartFailures()
        self.first_row_at: float | None = None
        self._backlog = self._resume()

    @property
    def failed_shards(self) -> dict[int, str]:
        """Shards that were given up, and why; all of their rows are rejected."""
        return self._backlog.failed

    def _resume(self) -> Backlog:
        committed = self._output.committed()
        self._progress.planned(shards=len(self._plan.shards), rows=self._plan.rows)
        self._count(tuple(committed.values()), resumed=True)
        earlier = self._attempts.earlier(committed)
        self._progress.attempt(1 + earlier.drivers)
        return Backlog.of(
            (shard.number for shard in self._plan.shards if shard.number not in committed),
            backoff_limit=self._config.budget.backoff_limit_per_shard,
            suspects=earlier.suspects,
            kills=earlier.kills,
            failed={
                shard: staged.runtime[GIVEN_UP]
                for shard, staged in committed.items()
                if GIVEN_UP in staged.runtime
            },
        )

    def add(self, slot: Slot) -> None:
        """Let a slot, whose scorer runs, take part."""
        self._slots.append(slot)
        self._open(slot)

    def remove(self, slot: Slot) -> None:
        """Do without a slot: its node has gone."""
        self._slots.remove(slot)
        self._lose_assigned(slot, Loss.KILLED)
        self._show_workers()

    def run(self, *, deadline: Deadline, on_other: Callable[[object], None]) -> None:
        """Work until nothing is left.

        Args:
            deadline: when the run's time is over.
            on_other: is given what arrives in the queue and is not about slots or commits.

        Raises:
            JobFailed: see the reasons; Unavailable: a store is not to be had; Interrupted.
        """
        try:
            while not self._is_done:
                self._wait_for_event(on_other)
                self._check_time(deadline)
                self._dispatch()
        finally:
            self._committer.flush()
        check_rejects(
            self._config.error_policy,
            rows_read=self._rows_read,
            rows_rejected=self._rows_rejected,
            final=True,
        )

    @property
    def _is_done(self) -> bool:
        in_work = any(slot.assigned for slot in self._slots)
        return not (in_work or self._committing or self._backlog.waiting)

    def _wait_for_event(self, on_other: Callable[[object], None]) -> None:
        try:
            event = self._events.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            return
        while event is not None:
            self._on_event(event, on_other)
            event = None if self._events.empty() else self._events.get()

    def _on_event(self, event: object, on_other: Callable[[object], None]) -> None:
        match event:
            case SlotEvent(slot=slot, generation=generation, what=what):
                if generation == slot.generation and slot in self._slots:
                    self._on_slot(slot, what)
            case Committed(shards=shards):
                self._on_committed(shards)
            case CommitFailed(error=error):
                raise error
            case _:
                on_other(event)

    def _on_slot(self, slot: Slot, what: Message | Exited) -> None:
        match what:
            case Beat():
                self._on_beat(slot, what)
            case Started(shard=shard):
                slot.started.add(shard)
                self._progress.started(shard)
            case Staged(staged=staged):
                self._on_staged(slot, StagedShard.from_json(staged))
            case ShardFailed():
                self._on_failed(slot, what)
            case Withdrawn(shards=shards):
                self._on_withdrawn(slot, shards)
            case FirstRow(at=at):
                self.first_row_at = min(at, self.first_row_at or at)
            case Ready():
                self._on_ready(slot, what)
            case Refused(reason=reason, message=message, invalid=invalid):
                raise (InvalidJob if invalid else JobFailed)(Reason(reason), message)
            case Unreachable(message=message, reason=reason):
                self._outage.add(message, now=time.monotonic(), reason=reason)
                self._unopened.add(slot)
            case Exited():
                self._on_exit(slot, what)

    def _on_ready(self, slot: Slot, ready: Ready) -> None:
        slot.ready = True
        self._start_failures = StartFailures()
        self._progress.model(
            ModelReport(
                resolved_digest=ready.digest,
                execution_provider=ready.provider,
                batch_size=ready.batch_size,
            )
        )
        self._show_workers()

    def _on_beat(self, slot: Slot, beat: Beat) -> None:
        slot.last_beat = time.monotonic()
        self._progress.usage(
            slot.process, cpu_seconds=beat.cpu_seconds, gpu_seconds=slot.gpu_seconds
        )
        for shard, rows in beat.rows.items():
            if shard in slot.assigned:
                self._progress.advanced(shard, rows)
        if beat.stalled and not slot.deadline_missed:
            slot.deadline_missed = True
            slot.kill()

    def _on_staged(self, slot: Slot, staged: StagedShard) -> None:
        slot.release(staged.shard)
        check_rejects(
            self._config.error_policy,
            rows_read=self._rows_read + staged.rows_read,
            rows_rejected=self._rows_rejected + staged.rows_rejected,
            final=False,
        )
        self._progress.advanced(staged.shard, staged.rows_read)
        self._committing.add(staged.shard)
        self._committer.add(staged)

    def _on_committed(self, shards: tuple[StagedShard, ...]) -> None:
        self._outage.end()
        self._backlog.progressed()
        self._committing -= {staged.shard for staged in shards}
        self._count(shards, resumed=False)

    def _count(self, shards: tuple[StagedShard, ...], *, resumed: bool) -> None:
        self._committed += len(shards)
        for staged in shards:
            self._rows_read += staged.rows_read
            self._rows_rejected += staged.rows_rejected
        counts = [
            CommittedCounts(
                shard=staged.shard,
                written=staged.rows_written,
                rejected=staged.rows_rejected,
                filtered=staged.rows_filtered,
                samples=staged.samples,
                given_up=GIVEN_UP in staged.runtime,
            )
            for staged in shards
        ]
        if resumed:
            self._progress.resumed(counts)
            return
        for each in counts:
            self._progress.committed(**each._asdict())

    def _on_failed(self, slot: Slot, failed: ShardFailed) -> None:
        slot.release(failed.shard)
        self._progress.lost(failed.shard)
        if failed.kind is FailureKind.JOB:
            raise JobFailed(Reason(failed.reason or Reason.INVALID_SPEC), failed.message)
        if failed.kind is FailureKind.STORE:
            self._outage.add(failed.message, now=time.monotonic(), reason=failed.reason)
            self._backlog.give_back([failed.shard])
            return
        self._lose(failed.shard, Loss.of(failed.kind), failed.message)

    def _on_withdrawn(self, slot: Slot, shards: tuple[int, ...]) -> None:
        slot.withdrawing = False
        for shard in shards:
            del slot.assigned[shard]
        self._backlog.give_back(shards)

    def _on_exit(self, slot: Slot, exited: Exited) -> None:
        own_doing = slot.deadline_missed or exited.is_crash
        if not slot.ready and self._start_failures.add(exited, hung=slot.deadline_missed):
            raise JobFailed(*self._start_failures.explain(exited))
        self._lose_assigned(slot, Loss.CRASHED if own_doing else Loss.KILLED)
        self._restart(slot)

    def _restart(self, slot: Slot) -> None:
        slot.start(self._events.put)
        self._unopened.add(slot)
        self._show_workers()

    def _lose_assigned(self, slot: Slot, loss: Loss) -> None:
        why = "the scorer was lost while it worked on the shard"
        for shard in slot.assigned:
            self._progress.lost(shard)
        in_work = [shard for shard in slot.assigned if shard in slot.started]
        self._backlog.give_back(shard for shard in slot.assigned if shard not in slot.started)
        for shard in in_work:
            self._lose(shard, loss, why, beside_others=len(in_work) > 1)
        slot.assigned.clear()

    def _lose(self, shard: int, loss: Loss, why: str, *, beside_others: bool = False) -> None:
        failed_before = shard in self._backlog.failed
        is_charged = self._backlog.lose(shard, loss, why, beside_others=beside_others)
        if not is_charged or shard not in self._backlog.failed:
            return
        self._progress.failed(shard)
        allowed, failed = self._config.budget.max_failed_shards, len(self._backlog.failed)
        if failed_before or failed > allowed:
            attempts = self._backlog.lost_attempts(shard)
            raise too_many_failed(
                failed, allowed, shard=shard, attempts=attempts, loss=loss, why=why
            )

    def _check_time(self, deadline: Deadline) -> None:
        now = time.monotonic()
        self._progress.beat()
        if self._stop.is_set():
            raise Interrupted("the run was asked to stop")
        deadline.check(now)
        for slot in self._slots:
            limit = _BEAT_DEADLINE_SECONDS if slot.ready else _OPEN_DEADLINE_SECONDS
            if now - slot.last_beat > limit and not slot.deadline_missed:
                slot.deadline_missed = True
                slot.kill()

    def _dispatch(self) -> None:
        if self._outage.is_pause(time.monotonic()):
            return
        if self._backlog.wants_fresh_scorer:
            self._renew_idle_scorer()
        while self._unopened:
            self._open(self._unopened.pop())
        ready = [slot for slot in self._slots if slot.ready and not slot.alone]
        for slot in sorted(ready, key=lambda slot: len(slot.assigned)):
            self._assign(slot, scorers=len(ready))
        if not self._backlog.waiting:
            rebalance(ready)

    def _renew_idle_scorer(self) -> None:
        """Start an idle scorer anew, unless one is fresh or just starting."""
        idle = [slot for slot in self._slots if not slot.assigned]
        if idle and not any(slot.is_fresh for slot in idle):
            self._restart(idle[0])

    def _assign(self, slot: Slot, *, scorers: int) -> None:
        take = self._backlog.take(
            assigned=len(slot.assigned),
            threads=slot.threads,
            scorers=scorers,
            is_fresh=slot.is_fresh,
        )
        if not take.shards:
            return
        attempt = uuid.uuid4().hex[:16]
        try:
            self._attempts.record(
                attempt,
                take.shards,
                alone=take.alone,
                in_work=slot.threads,
                committed=self._committed,
            )
        except (VolumeFull, Misconfigured):
            raise
        except StoreError as error:
            self._backlog.give_back(take.shards)
            self._outage.add(advised(error), now=time.monotonic(), reason=reason_of(error))
            return
        assignments = tuple(
            Assignment(
                self._plan.shards[shard],
                attempt,
                isolated=shard in self._backlog.isolated,
                frugal=take.frugal,
                given_up=self._backlog.failed.get(shard),
            )
            for shard in take.shards
        )
        slot.alone, slot.is_fresh = take.alone, False
        slot.assigned.update({each.shard.number: each for each in assignments})
        slot.send(Score(assignments))

    def _open(self, slot: Slot) -> None:
        slot.send(
            Open(
                config=self._config.model_dump_json(),
                details=self._plan.details,
                files=self._plan.files,
                work=self._output.work,
                threads=slot.threads,
                memory_bytes=slot.memory_bytes,
            )
        )

    def _show_workers(self) -> None:
        ready = sum(slot.ready for slot in self._slots)
        self._progress.workers(desired=max(ready, self._config.workers.replicas), ready=ready)
