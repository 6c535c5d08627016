"""How long a run puts up with a store that fails. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed, Unavailable

MOST_FAILURES = 8
"""Failures in a row, each after a pause, before the run gives up for now: some three minutes."""
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(slots=True)
class Outage:
    """Failures of a store without a commit between them; times are on one monotonic clock.

    All shards in work meet the same outage, so what fails during a pause is not counted again.
    """

    failures: int = 0
    _paused_until: float = 0.0

    def add(self, message: str, *, now: float, reason: str | None = None) -> None:
        """Count a failure and begin a pause.

        Raises:
            Unavailable: too many in a row; JobFailed(AccessDenied) if `reason` says so.
        """
        if self.is_pause(now):
            return
        self.failures += 1
        if self.failures <= MOST_FAILURES:
            self._paused_until = now + min(_LONGEST_PAUSE_SECONDS, 0.5 * 2**self.failures)
            return
        if reason == Reason.ACCESS_DENIED:
            raise JobFailed(Reason.ACCESS_DENIED, message)
        raise Unavailable(f"a store failed {self.failures} times in a row: {message}")

    def end(self) -> None:
        """Forget the failures: the store works."""
        self.failures = 0

    def is_pause(self, now: float) -> bool:
        """Say whether nothing should be tried at the moment."""
        return now < self._paused_until
