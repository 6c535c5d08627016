"""The loop of a run, with scorers, a clock and an output that do as they are told."""

from __future__ import annotations

import queue
import threading
import uuid

import pytest

from batch_inference_runner.commit.staged import GIVEN_UP, StagedShard
from batch_inference_runner.progress.counters import Progress
from batch_inference_runner.schedule import dispatch as dispatching
from batch_inference_runner.schedule import slot as slots
from batch_inference_runner.schedule.attempts import EarlierAttempts
from batch_inference_runner.schedule.deadline import Deadline
from batch_inference_runner.schedule.dispatch import Dispatch
from batch_inference_runner.schedule.slot import Slot
from batch_inference_runner.score.messages import (
    Open,
    Ready,
    Score,
    ShardFailed,
    Staged,
    Started,
)
from testkit.commits import make_config, plan_of

SEGV, KILL = -11, -9


class Clock:
    """Time that passes only when somebody waits for it, a little with each look."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slots = []

    def monotonic(self) -> float:
        self.now += 0.25
        for slot in self.slots:
            if slot.scorer.beats:
                slot.last_beat = self.now
        return self.now


def start_clock(monkeypatch) -> Clock:
    """Let the loop live by a clock of its own."""
    clock = Clock()
    monkeypatch.setattr(dispatching, "time", clock)
    monkeypatch.setattr(slots, "time", clock)
    monkeypatch.setattr(dispatching, "_TICK_SECONDS", 0.001)
    return clock


class FakeScorer:
    """Scores at once, unless told otherwise by `on_score` and `on_open`."""

    def __init__(self, *, on_score=None, on_open=None, beats=True) -> None:
        self.beats = beats
        self.received = []
        self.kills = 0
        self.on_score = on_score or (lambda scorer, assignment: scorer.finish(assignment))
        self.on_open = on_open or (lambda scorer: scorer.say(Ready("sha256:0", "CPU", 8)))

    def listen(self, on_message, on_exit) -> None:
        self.say, self.exit = on_message, on_exit

    def send(self, message) -> None:
        self.received.append(message)
        match message:
            case Open():
                self.on_open(self)
            case Score():
                for assignment in message.assignments:
                    self.on_score(self, assignment)

    def finish(self, assignment) -> None:
        self.begin(assignment)
        self.say(Staged(staged_of(assignment)))

    def begin(self, assignment) -> None:
        self.say(Started(assignment.shard.number))

    def kill(self) -> None:
        self.kills += 1
        self.exit(KILL)

    def close(self) -> None:
        """It has ended already, in these tests."""

    @property
    def shards(self) -> list[int]:
        """Every shard that this scorer was given, in order."""
        scores = [message for message in self.received if isinstance(message, Score)]
        return [each.shard.number for score in scores for each in score.assignments]


def staged_of(assignment, *, rejected=0) -> dict:
    return {
        "shard": assignment.shard.number,
        "attempt": assignment.attempt,
        "files": [],
        "rows_read": 3,
        "rows_written": 3 - rejected,
        "rows_rejected": rejected,
        "rows_filtered": 0,
        "runtime": {},
        "samples": [],
    }


class FakeOutput:
    """Commits whatever it is given. `given_up`: what an earlier driver gave up, by shard."""

    work = "0" * 64

    def __init__(self, plan, *, given_up=None) -> None:
        self.plan = plan
        self.given_up = given_up or {}
        self.marked = []
        self.error = None

    def committed(self):
        return {
            shard: StagedShard(shard, "0" * 16, (), 3, 0, 3, 0, runtime={GIVEN_UP: why})
            for shard, why in self.given_up.items()
        }

    def commit(self, staged):
        if self.error is not None:
            raise self.error
        self.marked += [each.shard for each in staged]
        return tuple(staged)


class FakeAttempts:
    """`lost_before`: how many drivers were lost while the first shard ran alone."""

    def __init__(self, *, lost_before=0) -> None:
        self.recorded = []
        self.lost_before = lost_before

    def earlier(self, _committed):
        kills = {0: self.lost_before} if self.lost_before else {}
        return EarlierAttempts(tuple(kills), kills, drivers=self.lost_before)

    def record(self, _attempt, shards, *, alone, in_work, committed):
        assert in_work >= 1
        assert committed >= 0
        self.recorded.append((tuple(shards), alone))


class Run:
    """A Dispatch and everything around it."""

    def __init__(self, *, shards=6, given_up=None, lost_before=0, **budget) -> None:
        config = make_config()
        self.config = config.model_copy(update={"budget": config.budget.model_copy(update=budget)})
        self.output = FakeOutput(plan_of(self.config, shards=shards), given_up=given_up)
        self.events = queue.SimpleQueue()
        self.stop = threading.Event()
        self.attempts = FakeAttempts(lost_before=lost_before)
        self.progress = Progress(self.config.job)
        self.dispatch = Dispatch(
            self.config,
            self.output,
            self.events,
            progress=self.progress,
            stop=self.stop,
            attempts=self.attempts,
        )

    def add(self, *scorers, threads=1, has_gpu=False) -> Slot:
        """A slot whose scorers are these, one after the other."""
        coming = iter(scorers)
        slot = Slot(
            name=uuid.uuid4().hex,
            spawn=lambda: next(coming),
            threads=threads,
            memory_bytes=1,
            has_gpu=has_gpu,
        )
        slot.start(self.events.put)
        dispatching.time.slots.append(slot)
        self.dispatch.add(slot)
        return slot

    def go(self, *, deadline=None, on_other=None) -> list[int]:
        """Run to the end; return the committed shards."""
        self.dispatch.run(deadline=deadline or Deadline(), on_other=on_other or pytest.fail)
        return sorted(self.output.marked)


def fail_with(kind, reason=None):
    def on_score(scorer, assignment):
        shard = assignment.shard.number
        scorer.begin(assignment)
        scorer.say(ShardFailed(shard, assignment.attempt, kind, reason, "it failed"))

    return on_score


def end_with(status):
    def on_score(scorer, assignment):
        scorer.begin(assignment)
        scorer.exit(status)

    return on_score
