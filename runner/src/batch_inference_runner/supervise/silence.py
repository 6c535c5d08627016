"""How long a child has said nothing, in ticks of the supervisor's own.

Ticks and not the clock, so that a pod that stood still as a whole, on a frozen node, is not taken
for one whose child hangs: the supervisor stood still with it.
"""

from __future__ import annotations

TICK_SECONDS = 1.0
FIRST_BEAT_TICKS = 120
"""A child may need so long for its imports from a slow disk."""
BEAT_TICKS = 20


class Silence:
    """Counts from the moment at which a child was started, `now` on the monotonic clock."""

    def __init__(
        self, now: float, *, first_beat_ticks: int = FIRST_BEAT_TICKS, beat_ticks: int = BEAT_TICKS
    ) -> None:
        self._ticked_at = now
        self._limit = first_beat_ticks
        self._beat_ticks = beat_ticks
        self.ticks = 0

    def end(self) -> None:
        """The child has said something."""
        self.ticks = 0
        self._limit = self._beat_ticks

    def go_on(self, now: float) -> None:
        """It has not: one tick more, if it is time for one."""
        if now - self._ticked_at >= TICK_SECONDS:
            self._ticked_at = now
            self.ticks += 1

    @property
    def is_too_long(self) -> bool:
        """Whether a child that worked would have said something."""
        return self.ticks >= self._limit
