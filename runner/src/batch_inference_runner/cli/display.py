"""Shows how a run goes while it runs: a live bar on a terminal, else a line now and then.

The display polls from a daemon thread of its own: it never slows the run, and a terminal that goes
away ends the display, not the run. What is written goes to stderr.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self

from batch_inference_api.runner_contract import RunPhase
from batch_inference_runner.cli.wording import count, duration
from batch_inference_runner.progress.report import to_json

if TYPE_CHECKING:
    from types import TracebackType

    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_runner.progress.counters import Progress

STOPPING = (
    "stopping: shards in flight are dropped, committed ones stay; the same command resumes "
    "(interrupt again: stop at once)"
)
_POLL_SECONDS = 0.2
_LINE_SECONDS = 5.0
_LIVE_AFTER_SECONDS = 0.4
"""A run that is over by then needs no bar, and the first row must not wait for rich."""

_logger = logging.getLogger(__name__)


class Renderer(Protocol):
    """One way of showing reports."""

    def show(self, report: ProgressReport) -> None:
        """Called several times a second."""

    def announce(self, text: str) -> None:
        """Show a line that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Display:
    """Polls `progress` and shows it while entered."""

    def __init__(self, progress: Progress, stop: threading.Event, renderer: Renderer) -> None:
        self._progress = progress
        self._stop = stop
        self._renderer = renderer
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="bij-display", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join(timeout=2)

    def _poll(self) -> None:
        announced = False
        try:
            while not self._closing.wait(_POLL_SECONDS):
                self._renderer.show(self._progress.report())
                if self._stop.is_set() and not announced:
                    announced = True
                    self._renderer.announce(STOPPING)
            self._renderer.show(self._progress.report())
            self._renderer.close()
        except OSError as error:
            _logger.debug("display ended", extra={"error": str(error)})


class PlainLines:
    """One line every few seconds and whenever the phase changes."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()
        self._phase = RunPhase.STARTING

    def show(self, report: ProgressReport) -> None:
        now = time.monotonic()
        if report.final or (report.phase is self._phase and now - self._shown_at < _LINE_SECONDS):
            return
        self._phase, self._shown_at = report.phase, now
        self.write(report)

    def write(self, report: ProgressReport) -> None:
        """Write the report as one line."""
        at = time.strftime("%H:%M:%S")
        self._print(f"{at} {report.phase} {progress_line(report)}".rstrip())

    def announce(self, text: str) -> None:
        self._print(text)

    def close(self) -> None:
        """Nothing was changed that needs to be put back."""

    def _print(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class JsonLines(PlainLines):
    """The same rhythm, a ProgressReport as JSON each time."""

    def write(self, report: ProgressReport) -> None:
        self._print(to_json(report).decode())

    def announce(self, text: str) -> None:
        """Programs asked for the stop themselves, or see the final report."""


class LiveBar:
    """A bar and a line of counts that are redrawn in place, by rich."""

    def __init__(self, live_after_seconds: float = _LIVE_AFTER_SECONDS) -> None:
        self._starts_at = time.monotonic() + live_after_seconds
        self._screen: LiveScreen | None = None

    def show(self, report: ProgressReport) -> None:
        if self._screen is None:
            if report.final or time.monotonic() < self._starts_at:
                return
            self._screen = LiveScreen()
        self._screen.draw(report)

    def announce(self, text: str) -> None:
        if self._screen is None:
            sys.stderr.write(text + "\n")
        else:
            self._screen.print(text)

    def close(self) -> None:
        if self._screen is not None:
            self._screen.stop()


class LiveScreen:
    """The two lines on the terminal. Constructing one imports rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def draw(self, report: ProgressReport) -> None:
        """Replace what is shown."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        percentage = report.percentage
        is_unknown = percentage is None and not report.final
        bar = ProgressBar(total=None if is_unknown else 100, completed=percentage or 0)
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(width=11)
        line.add_column(ratio=1)
        line.add_column(justify="right", width=5)
        label = "" if percentage is None else f"{percentage} %"
        line.add_row(Text(report.phase.value, style="bold"), bar, Text(label))
        self._live.update(Group(line, Text(progress_line(report), style="dim")), refresh=True)

    def print(self, text: str) -> None:
        """Show a line above the bar."""
        self._live.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the last state on the screen and give the cursor back."""
        self._live.stop()


def choose_renderer(output_format: str) -> Renderer:
    """JSON lines for programs, a live bar on a terminal, else plain lines."""
    if output_format == "json":
        return JsonLines()
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return LiveBar() if is_terminal else PlainLines()


def progress_line(report: ProgressReport) -> str:
    """`4,200/10,000 rows  1,200 rows/s  5.0 s left  4/10 shards  0 rejected`; else empty."""
    shards, rows = report.shards, report.rows
    if not shards.total:
        return ""
    total = "" if rows.total is None else f"/{count(rows.total)}"
    parts = [f"{count(rows.processed)}{total} rows"]
    if report.rows_per_second is not None:
        parts.append(f"{count(report.rows_per_second)} rows/s")
    if report.estimated_remaining_seconds is not None:
        parts.append(f"{duration(report.estimated_remaining_seconds)} left")
    parts.append(f"{count(shards.succeeded)}/{count(shards.total)} shards")
    if shards.failed:
        parts.append(f"{count(shards.failed)} failed")
    parts.append(f"{count(rows.rejected)} rejected")
    return "  ".join(parts)
