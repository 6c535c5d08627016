"""What the API server has refused of a job's plan: asked for again after growing pauses only.

A quota or a queue may refuse the same change for hours, and a job that runs is looked at every few
seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_inference_operator.work_queue import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_inference_operator.decide.plan import Action
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.keys import Key
    from batch_inference_operator.observation import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """What was asked for, the answer, and until when it counts."""

    asked: object
    refusal: Refusal
    times: int
    at: datetime
    until: datetime


class RefusedPlans:
    """Remembers, in memory, the last refusal of each job."""

    def __init__(self, *, clock: Callable[[], datetime], backoff: Backoff | None = None) -> None:
        self._clock = clock
        self._backoff = backoff or Backoff(first_seconds=4, most_seconds=60)
        self._refused: dict[Key, _Refused] = {}

    def find(self, record: Record, actions: tuple[Action, ...]) -> Refusal | None:
        """The answer to the same actions, while it is too early to ask again."""
        last = self._last(record, actions)
        # Before that time the clock was set back.
        is_early = last is not None and last.at <= self._clock() < last.until
        return last.refusal if last is not None and is_early else None

    def note(self, record: Record, actions: tuple[Action, ...], refusal: Refusal) -> Refusal:
        """Remember a refusal, and return it with when the first in a row was given.

        The pause grows with each.
        """
        last = self._last(record, actions)
        times = 1 if last is None else last.times + 1
        pause = timedelta(seconds=self._backoff.pause_seconds(times, chance=0))
        now = self._clock()
        dated = replace(refusal, since=now if last is None else last.refusal.since)
        self._refused[record.key] = _Refused(
            asked=_asked(record, actions), refusal=dated, times=times, at=now, until=now + pause
        )
        return dated

    def forget(self, key: Key) -> None:
        """Forget a job that is gone, or whose actions were accepted."""
        self._refused.pop(key, None)

    def _last(self, record: Record, actions: tuple[Action, ...]) -> _Refused | None:
        last = self._refused.get(record.key)
        return last if last is not None and last.asked == _asked(record, actions) else None


def _asked(record: Record, actions: tuple[Action, ...]) -> object:
    """What tells one wish from another; the seconds left of a deadline do not."""
    return record.uid, record.generation, tuple(map(type, actions))
