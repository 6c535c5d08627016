"""A place where a scorer runs, and what its present scorer is doing.

A slot outlives its scorers: when one is lost the slot spawns the next. Events of an earlier scorer
are told apart by the generation.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from batch_inference_api.reasons import Reason
from batch_inference_runner.score.messages import OUT_OF_MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.score.messages import Assignment, Message


class Scorer(Protocol):
    """A scorer, wherever it runs."""

    def listen(
        self, on_message: Callable[[Message], None], on_exit: Callable[[int], None]
    ) -> object:
        """Hand over every message, then the exit status (negative: the signal that ended it)."""

    def send(self, message: Message) -> None: ...

    def kill(self) -> None:
        """End it; its exit follows as an event."""

    def close(self) -> None:
        """End it and wait until it is gone."""


_CRASH_SIGNALS = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}
_MOST_CRASHES_AT_START = 3
_MOST_KILLS_AT_START = 10


class Exited(NamedTuple):
    """A scorer has ended; `status` as in subprocess: negative is a signal."""

    status: int

    @property
    def is_crash(self) -> bool:
        """Whether native code ended it, and nobody from outside."""
        return -self.status in _CRASH_SIGNALS or self.status > 0


@dataclass(slots=True)
class StartFailures:
    """Scorers that ended before they were ready: a few crashes, or many kills, are too many."""

    crashes: int = 0
    kills: int = 0

    def add(self, exited: Exited, *, hung: bool = False) -> bool:
        """Count one, which was killed because it hung or else ended; say if there were too many."""
        crashed = hung or exited.is_crash
        self.crashes += crashed
        self.kills += not crashed
        return self.crashes >= _MOST_CRASHES_AT_START or self.kills >= _MOST_KILLS_AT_START

    def explain(self, exited: Exited) -> tuple[Reason, str]:
        """Say what keeps scorers from becoming ready; `exited` was the last of them."""
        if self.kills >= _MOST_KILLS_AT_START:
            return Reason.OUT_OF_MEMORY, (
                f"{self.kills} scorers were killed before they could score (the last one ended "
                f"with status {exited.status}), as the kernel does when memory runs out: raise "
                f"spec.workers.resources.limits.memory, or lower spec.batching.batchSize"
            )
        if exited.status == OUT_OF_MEMORY:
            return Reason.OUT_OF_MEMORY, (
                "scorers have too little memory to start: raise "
                "spec.workers.resources.limits.memory, or whatever else limits the memory or the "
                "threads of a process here"
            )
        return Reason.MODEL_UNSUPPORTED, (
            f"scorers keep ending or hanging (the last one ended with status {exited.status}) "
            f"while they read the input's metadata or load the model: a file or the model crashes "
            f"the libraries that read it; try the model with ONNX Runtime alone"
        )


class SlotEvent(NamedTuple):
    """Something that a slot's scorer of that generation said or did."""

    slot: Slot
    generation: int
    what: Message | Exited


@dataclass(slots=True, eq=False)
class Slot:
    """One scorer's place: `threads` score in it, within `memory_bytes`, some with one GPU."""

    name: str
    spawn: Callable[[], Scorer]
    threads: int
    memory_bytes: int
    has_gpu: bool = False
    scorer: Scorer | None = None
    generation: int = 0
    ready: bool = False
    is_fresh: bool = True
    """Whether its scorer has had no shard yet, nor memory that it held for one."""
    alone: bool = False
    deadline_missed: bool = False
    spawned_at: float = 0.0
    last_beat: float = 0.0
    assigned: dict[int, Assignment] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)
    withdrawing: bool = False

    @property
    def process(self) -> str:
        """Name the scorer that is in the place now."""
        return f"{self.name}/{self.generation}"

    @property
    def gpu_seconds(self) -> float | None:
        """How long that scorer has held its GPU; None if it has none."""
        return self.last_beat - self.spawned_at if self.has_gpu else None

    def start(self, report: Callable[[SlotEvent], None], scorer: Scorer | None = None) -> None:
        """Spawn the next scorer, or take over one that is running already."""
        if self.scorer is not None:
            self.scorer.close()
        self.generation += 1
        generation = self.generation
        self.scorer = scorer or self.spawn()
        self.ready = self.alone = self.deadline_missed = self.withdrawing = False
        self.is_fresh = True
        self.spawned_at = self.last_beat = time.monotonic()
        self.assigned.clear()
        self.started.clear()
        self.scorer.listen(
            lambda message: report(SlotEvent(self, generation, message)),
            lambda status: report(SlotEvent(self, generation, Exited(status))),
        )

    def release(self, shard: int) -> None:
        """Note that the scorer is done with a shard, well or badly."""
        self.assigned.pop(shard)
        self.started.discard(shard)
        self.alone = self.alone and bool(self.assigned)

    def send(self, message: Message) -> None:
        """Say something to the scorer."""
        if self.scorer is not None:
            self.scorer.send(message)

    def kill(self) -> None:
        """End the scorer; its exit will be reported."""
        if self.scorer is not None:
            self.scorer.kill()

    def close(self) -> None:
        """End the scorer for good."""
        if self.scorer is not None:
            self.scorer.close()
            self.scorer = None
