"""The final report, index ranges, rates and metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_inference_api.runner_contract import (
    JobIdentity,
    ProgressReport,
    RowCounts,
    RowFailure,
    RunPhase,
    ShardCounts,
)
from batch_inference_runner.progress.index_ranges import compress
from batch_inference_runner.progress.metrics import render
from batch_inference_runner.progress.rate import SlidingRate
from batch_inference_runner.progress.report import (
    find_termination_log,
    fit_report,
    to_json,
    write_termination_message,
)


@pytest.mark.parametrize(
    ("states", "text"),
    [
        pytest.param(b"", "", id="no shards"),
        pytest.param(b"\0\0", "", id="none in that state"),
        pytest.param(b"\2" * 12 + b"\0\0\2", "0-11,14", id="a run and a single one"),
        pytest.param(b"\2\2\0\2", "0,1,3", id="two neighbours are listed, as batch/v1 does"),
        pytest.param(b"\2\2\2", "0-2", id="three are a range"),
        pytest.param(b"\2\0" * 1000, "", id="too long to tell"),
    ],
)
def test_index_ranges(states: bytes, text: str) -> None:
    assert compress(states, 2) == text


def test_a_text_of_exactly_the_limit_is_told() -> None:
    assert compress(b"\2\0\2\0\2", 2, max_bytes=5) == "0,2,4"
    assert compress(b"\2\0\2\0\2", 2, max_bytes=4) == ""


def test_the_window_slides() -> None:
    rate = SlidingRate(window_seconds=30)
    rate.start(0, 0)
    for second in range(1, 101):
        rate.note(second, second * 10 if second <= 50 else 500 + (second - 50) * 40)
    assert rate.per_second() == pytest.approx(40)


def test_a_million_notes_take_constant_space() -> None:
    rate = SlidingRate(window_seconds=30)
    rate.start(0, 0)
    for step in range(20_000):
        rate.note(step / 1000, step)
    assert len(rate._points) < 70
    assert rate.per_second() == pytest.approx(1000, rel=0.01)


def _report(**fields: object) -> ProgressReport:
    return ProgressReport(job=JobIdentity(name="j"), **fields)


def test_samples_go_before_the_message() -> None:
    failure = RowFailure(file="f" * 100, stage="Bind", error="E", message="m" * 100)
    report = _report(failures=(failure,) * 20, message="keep me", reason="RowRejected")
    short = fit_report(report, max_bytes=1500)
    assert short.message == "keep me"
    assert 0 < len(short.failures) < 20
    assert len(to_json(short)) <= 1500


def test_a_long_message_keeps_its_beginning() -> None:
    short = fit_report(_report(message="no file matches " + "x" * 9000), max_bytes=1000)
    assert short.message is not None
    assert short.message.startswith("no file matches xxx")
    assert short.message.endswith("…")


def test_the_termination_message_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.write_text("x" * 9000)
    inode = path.stat().st_ino
    write_termination_message(_report(final=True), path)
    assert path.stat().st_ino == inode
    assert ProgressReport.model_validate_json(path.read_bytes()).final


def test_a_termination_message_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    write_termination_message(_report(), tmp_path / "missing" / "log")
    write_termination_message(_report(), None)


def test_the_termination_log_can_be_named() -> None:
    assert find_termination_log({"BIJ_TERMINATION_LOG": "/x/y"}) == Path("/x/y")


def test_metrics_have_a_type_and_help_and_leave_out_what_is_unknown() -> None:
    text = render(
        _report(
            phase=RunPhase.RUNNING,
            rows=RowCounts(processed=12_345_678_901, written=5, rejected=2),
            shards=ShardCounts(total=3, pending=2, active=1),
            percentage=42,
        )
    )
    lines = text.splitlines()
    assert 'bij_rows_total{state="written"} 5' in lines
    assert "bij_rows_processed_total 12345678901" in lines
    assert 'bij_shards{state="active"} 1' in lines
    assert "bij_progress_ratio 0.42" in lines
    assert 'bij_phase{phase="Running"} 1' in lines
    assert "# TYPE bij_rows_total counter" in lines
    assert "bij_rows_planned" not in text
    names = {line.partition("{")[0].partition(" ")[0] for line in lines if line[0] != "#"}
    assert names == {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert names == {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert text.endswith("\n")
