"""What is shown while a run goes on."""

from __future__ import annotations

import os
import pty
import sys

import pytest

from batch_inference_api.runner_contract import (
    JobIdentity,
    ProgressReport,
    RowCounts,
    RunPhase,
    ShardCounts,
)
from batch_inference_runner.cli.display import (
    JsonLines,
    LiveBar,
    PlainLines,
    choose_renderer,
    progress_line,
)
from batch_inference_runner.cli.wording import count, duration, size


def report(phase: RunPhase = RunPhase.RUNNING, **fields: object) -> ProgressReport:
    return ProgressReport(
        job=JobIdentity(name="j"),
        phase=phase,
        rows=RowCounts(total=10_000, processed=4200, rejected=3),
        shards=ShardCounts(total=10, succeeded=4, active=6),
        percentage=42,
        **fields,
    )


def test_a_line_says_how_far_how_fast_and_how_long() -> None:
    line = progress_line(report(rows_per_second=1200, estimated_remaining_seconds=5))
    assert line == "4,200/10,000 rows  1,200 rows/s  5.0 s left  4/10 shards  3 rejected"


def test_a_line_is_written_when_the_phase_changes_and_not_at_every_poll(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = PlainLines()
    for phase in [RunPhase.PLANNING] * 3 + [RunPhase.RUNNING] * 3:
        lines.show(report(phase))
    written = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in written] == ["Planning", "Running"]


def test_programs_get_reports(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines().show(report())
    assert ProgressReport.model_validate_json(capsys.readouterr().err) == report()


def test_without_a_terminal_lines_are_chosen() -> None:
    assert type(choose_renderer("text")) is PlainLines
    assert type(choose_renderer("json")) is JsonLines


def _read_to_the_end(terminal: int) -> str:
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        try:
            while part := stream.read(65536):
                shown += part
        except OSError:  # EIO: how a terminal says that its other side was closed
            return shown.decode()
    return shown.decode()


def test_a_terminal_gets_a_bar_and_its_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert type(choose_renderer("text")) is LiveBar
        bar = LiveBar(live_after_seconds=0)
        bar.show(report())
        bar.announce("stopping")
        bar.close()
    shown = _read_to_the_end(ours)
    assert "42 %" in shown
    assert "4,200/10,000 rows" in shown
    assert "stopping" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59, "59 s"), (61, "1:01 min"), (3725, "1:02:05 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_and_sizes() -> None:
    assert (count(1, "row"), count(1234, "row"), count(1234)) == ("1 row", "1,234 rows", "1,234")
    assert (size(812), size(1536), size(5 << 30)) == ("812 B", "1.5 KiB", "5.0 GiB")
