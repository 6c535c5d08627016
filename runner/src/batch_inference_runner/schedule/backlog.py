"""Which shards come next, how many at once, and what a loss means. No I/O, no clock.

A shard that ends badly by its own doing (a crash signal, a deadline) is charged and tried again
where a crash costs one row only; if that does not help, alone. A shard that was merely in work when
its scorer was killed from outside, or crashed with several shards in work, is innocent until it
happens again: it runs alone, and a second loss is charged. So is one that ran short of the memory
that it shared: it runs alone and frugally, in a scorer that has held nothing before, until anything
is its fault.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from batch_inference_runner.score.messages import FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LARGEST_RANGE = 256


class Loss(Enum):
    """Why a shard that was in work has no result."""

    CRASHED = "crashed"
    """A crash signal or a deadline: the shard's own doing."""
    KILLED = "killed"
    """Its scorer, driver or node was killed from outside."""
    ISOLATOR_LOST = "isolator lost"
    """The process in which its rows are isolated was killed, or cannot do its work."""
    OUT_OF_MEMORY = "out of memory"
    """An allocation failed, in memory that was shared with the shards beside it."""
    FAILED = "failed"
    """An error that was reported."""

    @classmethod
    def of(cls, kind: FailureKind) -> Loss:
        """Say what a failure that a scorer has reported is to its shard."""
        return _REPORTED.get(kind, cls.FAILED)


_REPORTED = {FailureKind.LOST: Loss.ISOLATOR_LOST, FailureKind.MEMORY: Loss.OUT_OF_MEMORY}


@dataclass(frozen=True, slots=True)
class Take:
    """Shards to hand to one scorer. `alone`: it gets nothing else until it is done with them.

    `frugal`: they ran short of memory, so even their own slices must not be scored side by side.
    """

    shards: tuple[int, ...] = ()
    alone: bool = False
    frugal: bool = False


@dataclass(slots=True)
class Backlog:
    """Shards that are waiting, and how often each went wrong.

    `pending` is in the order of the input. `suspects` were in work when something was killed, or
    ran short of memory; the latter are `frugal` as well.
    `charges` are what a shard did itself, `kills` what befell it while it ran alone, since the last
    commit of any shard; they carry over from earlier drivers. Both count against the limit.
    """

    pending: deque[int]
    backoff_limit: int
    suspects: deque[int] = field(default_factory=deque)
    charges: Counter[int] = field(default_factory=Counter)
    kills: Counter[int] = field(default_factory=Counter)
    isolated: set[int] = field(default_factory=set)
    frugal: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)
    _alone: set[int] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        shards: Iterable[int],
        *,
        backoff_limit: int,
        suspects: Iterable[int] = (),
        kills: Mapping[int, int] | None = None,
        failed: Mapping[int, str] | None = None,
    ) -> Backlog:
        """Start with the shards that are not committed; suspects among them go first.

        `failed` are those that earlier drivers gave up: they count against the job's limit too.
        """
        waiting = list(shards)
        suspected = set(suspects) & set(waiting)
        backlog = cls(
            deque(shard for shard in waiting if shard not in suspected),
            backoff_limit,
            deque(shard for shard in waiting if shard in suspected),
            kills=Counter(kills or {}),
            failed=dict(failed or {}),
        )
        backlog.isolated |= backlog.kills.keys()
        return backlog

    @property
    def waiting(self) -> int:
        """Shards that nobody works on."""
        return len(self.pending) + len(self.suspects)

    @property
    def wants_fresh_scorer(self) -> bool:
        """Whether the next shard ran short of memory, of which an old scorer may keep some."""
        return bool(self.suspects) and self.suspects[0] in self.frugal

    def take(self, *, assigned: int, threads: int, scorers: int, is_fresh: bool = False) -> Take:
        """Choose what a scorer that has `assigned` shards should get now.

        Ranges shrink as the backlog does, so that the last shards are spread over all scorers.
        `is_fresh`: it has had no shard before.
        """
        if self.suspects:
            if assigned:
                return Take()  # it will be idle soon, and then a suspect can run alone
            if self.wants_fresh_scorer and not is_fresh:
                return Take()
            shard = self.suspects.popleft()
            self._alone.add(shard)
            return Take((shard,), alone=True, frugal=shard in self.frugal)
        size = max(threads, min(_LARGEST_RANGE, len(self.pending) // (2 * scorers)))
        if assigned > size // 2:
            return Take()
        count = min(size, len(self.pending))
        return Take(tuple(self.pending.popleft() for _ in range(count)))

    def progressed(self) -> None:
        """Forgive kills, now that a shard was committed: kills at random never fail a job."""
        self.kills.clear()

    def give_back(self, shards: Iterable[int]) -> None:
        """Put shards that were not tried in front of the queue, in order.

        Suspects are among others then: what befalls those is charged to nobody at first.
        """
        returned = sorted(shards, reverse=True)
        self.pending.extendleft(returned)
        self._alone.difference_update(returned)

    def lost_attempts(self, shard: int) -> int:
        """Count the attempts at a shard that are held against it, earlier drivers' included."""
        return self.charges[shard] + self.kills[shard]

    def lose(self, shard: int, loss: Loss, why: str, *, beside_others: bool = False) -> bool:
        """Account for an attempt without a result; queue the next or, at last, the rejection.

        `beside_others`: other shards were lost at the same moment, any of which may be the cause.
        Returns whether the shard is charged with it.
        """
        was_alone = shard in self._alone
        self._alone.discard(shard)
        if loss is Loss.CRASHED and beside_others:
            self.isolated.add(shard)
            self.suspects.append(shard)
            return False
        if loss in (Loss.KILLED, Loss.ISOLATOR_LOST) and not was_alone:
            self.suspects.append(shard)
            return False
        if loss is Loss.OUT_OF_MEMORY and not (was_alone and shard in self.frugal):
            self.frugal.add(shard)
            self.suspects.append(shard)
            return False
        if loss is Loss.KILLED:
            self.kills[shard] += 1
        else:
            self.charges[shard] += 1
        if self.lost_attempts(shard) > self.backoff_limit:
            self.failed[shard] = why
            self.pending.appendleft(shard)  # once more, to reject its rows unread
            return True
        if loss is Loss.FAILED or (loss is Loss.CRASHED and shard not in self.isolated):
            self.pending.appendleft(shard)
        else:
            self.suspects.append(shard)
        if loss in (Loss.CRASHED, Loss.KILLED):
            self.isolated.add(shard)
        return True
