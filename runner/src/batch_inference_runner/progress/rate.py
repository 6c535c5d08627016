"""How fast a count grows, over a sliding window of time."""

from __future__ import annotations

from collections import deque


class SlidingRate:
    """Keeps (time, count) points of the last `window_seconds`; not thread-safe.

    Points closer together than a sixtieth of the window replace one another, so memory and time are
    constant however often a count is noted.
    """

    def __init__(self, window_seconds: float = 30.0, min_seconds: float = 0.25) -> None:
        self._window_seconds = window_seconds
        self._spacing_seconds = window_seconds / 60
        self._min_seconds = min_seconds
        self._points: deque[tuple[float, float]] = deque()

    def start(self, now: float, count: float) -> None:
        """Forget the past: what was counted before `now` did not take time in this run."""
        self._points.clear()
        self._points.append((now, count))

    def note(self, now: float, count: float) -> None:
        """Record that the count stands at `count`."""
        points = self._points
        if len(points) > 1 and now - points[-2][0] < self._spacing_seconds:
            points.pop()
        points.append((now, count))
        # The newest point that is older than the window stays: it is where the window begins.
        while len(points) > 2 and now - points[1][0] >= self._window_seconds:
            points.popleft()

    def per_second(self) -> float | None:
        """Growth a second over the window; None as long as too little time has passed to tell."""
        if len(self._points) < 2:
            return None
        (first_at, first), (last_at, last) = self._points[0], self._points[-1]
        elapsed_seconds = last_at - first_at
        if elapsed_seconds < self._min_seconds:
            return None
        return max(0.0, (last - first) / elapsed_seconds)
