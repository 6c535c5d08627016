"""The report of a supervisor that gives up."""

from __future__ import annotations

import json

import pytest

from batch_inference_api.runner_contract import JobIdentity, ProgressReport, RowCounts, RunPhase
from batch_inference_runner.progress.report import to_json
from batch_inference_runner.supervise import last_words
from batch_inference_runner.supervise.heartbeat import Beat

CONFIG = {"job": {"name": "churn", "namespace": "team"}, "run": {"number": 3}}


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "termination-log"
    path.touch()
    return path


@pytest.fixture
def leave(tmp_path, log, monkeypatch):
    """Leave a report and read it as the operator does."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    monkeypatch.setattr(last_words.logs, "configure", lambda **_: None)

    def leave(*, status: int = -9, hung: bool = False, config: str = str(config)) -> ProgressReport:
        last_words.leave_report(
            ("driver", "--config", config),
            {"BIJ_TERMINATION_LOG": str(log)},
            status=status,
            hung=hung,
            beat=Beat(attempt=6, committed=0, processed=50),
        )
        return ProgressReport.parse(log.read_bytes())

    return leave


@pytest.mark.parametrize(
    ("status", "hung", "said"),
    [
        pytest.param(-9, False, "was ended by SIGKILL", id="a kill"),
        pytest.param(-11, False, "was ended by SIGSEGV", id="a crash"),
        pytest.param(1, False, "ended with exit code 1", id="an end of its own"),
        pytest.param(-9, True, "gave no sign of life", id="a hang"),
    ],
)
def test_it_says_what_was_seen(leave, monkeypatch, status, hung, said):
    monkeypatch.setattr(last_words, "memory_kills", lambda: 0)
    report = leave(status=status, hung=hung)
    assert said in report.message
    assert "memory" not in report.message
    assert "6 times in a row without committing a shard" in report.message


def test_it_says_whose_run_it_was(leave):
    report = leave()
    assert (report.job, report.run_number) == (JobIdentity(name="churn", namespace="team"), 3)
    assert report.attempt == 6


def test_it_is_never_final_and_never_a_success(leave):
    report = leave()
    assert (report.final, report.reason, report.phase) == (False, None, RunPhase.INTERRUPTED)


@pytest.mark.parametrize(("status", "named"), [(-9, True), (-11, False)])
def test_memory_that_ran_out_is_named_with_what_to_do(leave, monkeypatch, status, named):
    monkeypatch.setattr(last_words, "memory_kills", lambda: 2)
    advice = "raise spec.workers.resources.limits.memory"
    assert (advice in leave(status=status).message) is named


def test_what_the_last_driver_said_itself_is_kept(leave, log):
    said = ProgressReport(
        job=JobIdentity(name="churn"),
        attempt=9,
        phase=RunPhase.SUCCEEDED,
        final=True,
        message="the store was not reached",
        rows=RowCounts(written=40),
    )
    log.write_bytes(to_json(said))
    report = leave(status=1)
    assert report.message.endswith("it said: the store was not reached")
    assert (report.rows.written, report.attempt) == (40, 9)
    assert (report.final, report.phase) == (False, RunPhase.INTERRUPTED)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"contractVersion": 99}'])
def test_half_a_report_is_none(leave, log, text):
    log.write_bytes(text)
    assert leave().job.name == "churn"


def test_a_config_that_is_not_there_leaves_a_report_all_the_same(leave):
    assert leave(config="/nonexistent").job.name == "unknown"


def test_an_earlier_drivers_report_is_forgotten_in_place(log):
    log.write_text("{}")
    before = log.stat().st_ino
    last_words.forget_report({"BIJ_TERMINATION_LOG": str(log)})
    assert (log.read_bytes(), log.stat().st_ino) == (b"", before)


def test_without_a_termination_log_nothing_is_made(tmp_path):
    last_words.forget_report({"BIJ_TERMINATION_LOG": str(tmp_path / "none")})
    assert not (tmp_path / "none").exists()
