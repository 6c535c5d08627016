"""The time as the API server has it.

Whether a limit is over is reckoned from times that the server has written, such as when a Job was
created. Where this machine's clock is an hour ahead, every limit below an hour would be over at
once. So the time is this machine's, corrected by what the server says in the Date of its answers.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_HARMLESS = timedelta(seconds=30)
"""A Date has whole seconds, and an answer may take a while: no difference of clocks is below."""


class ServerClock:
    """Tells the time; `clock` is this machine's."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._ahead = timedelta(0)

    def note(self, date: str | None) -> None:
        """Take in the Date of an answer; None, or what is no date, says nothing."""
        try:
            told = parsedate_to_datetime(date or "")
        except ValueError:
            return
        if told.tzinfo is not None:
            ahead = told - self._clock()
            self._ahead = ahead if abs(ahead) > _HARMLESS else timedelta(0)

    def __call__(self) -> datetime:
        return self._clock() + self._ahead
