"""How a run ends: exit code, what is said, and where it is said."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import OutputReport, ProgressReport, RunnerConfig, RunPhase
from batch_inference_runner.__main__ import main
from batch_inference_runner.cli import display
from batch_inference_runner.commit.manifest import Manifest, RowTotals
from batch_inference_runner.errors import Interrupted, InvalidJob, JobFailed, Unavailable
from batch_inference_runner.progress.counters import Progress
from batch_inference_runner.schedule import driver
from batch_inference_runner.schedule.driver import Outcome
from batch_inference_runner.schedule.launch import Launch
from batch_inference_runner.schedule.scorer_process import ScorerProcess

MANIFEST = """\
apiVersion: batchinference.dev/v1alpha1
kind: BatchInferenceJob
metadata: {name: churn}
spec:
  suspend: false
  model: {storageUri: model.onnx, modelFormat: {name: onnx}}
  input: {storageUris: [data.parquet], format: Parquet}
  output: {storageUri: out, format: Parquet}
"""
SAMPLE = {
    "file": "f",
    "row": 1,
    "stage": "Bind",
    "error": "NullInput",
    "message": "column 'a' is null",
}


class FakeScorer:
    closed = False

    def listen(self, *_: object) -> None:
        """Has nothing to say."""

    def send(self, _message: object) -> None:
        """Does nothing."""

    def close(self) -> None:
        self.closed = True


def result_of(mode: str = "ErrorIfExists") -> Manifest:
    return Manifest(
        job={}, plan_hash="0" * 64, plans=(), generation=1, mode=mode, format="Parquet", files=(),
        rejects=(), counts=RowTotals(read=12, written=10, rejected=2),
    )  # fmt: skip


def score(launched: Launch, *, progress: Progress, **_: Any) -> Outcome:
    progress.planned(shards=2, rows=12)
    progress.phase(RunPhase.RUNNING)
    progress.committed(0, written=5, rejected=1, filtered=0, samples=[SAMPLE])
    progress.committed(1, written=5, rejected=1, filtered=0, samples=[SAMPLE])
    uri = launched.config.output.location.uri
    progress.output(
        OutputReport(storage_uri=uri, rejects_uri=uri + "/_rejects/", files=2, bytes=2048)
    )
    return Outcome(result_of(), already_complete=False)


def find_complete(_launched: Launch, **_: Any) -> Outcome:
    return Outcome(result_of(), already_complete=True)


def wait_for_stop(launched: Launch, *, progress: Progress, **_: Any) -> Outcome:
    progress.planned(shards=3, rows=30)
    progress.committed(0, written=10, rejected=0, filtered=0)
    os.kill(os.getpid(), signal.SIGINT)
    assert launched.stop.wait(5)
    raise Interrupted("asked to stop")


def wait_for_termination(launched: Launch, **_: Any) -> Outcome:
    os.kill(os.getpid(), signal.SIGTERM)
    assert launched.stop.wait(5)
    raise Interrupted("asked to stop")


def failing(error: BaseException) -> Callable[..., Outcome]:
    def run(_launched: Launch, **_: Any) -> Outcome:
        raise error

    return run


@pytest.fixture(autouse=True)
def scorer(monkeypatch: pytest.MonkeyPatch) -> FakeScorer:
    scorer = FakeScorer()
    monkeypatch.setattr(ScorerProcess, "fork", lambda: scorer)
    return scorer


@pytest.fixture(autouse=True)
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(MANIFEST)
    return tmp_path


def test_success_ends_in_a_summary_and_what_to_type_next(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    job: Path,
    scorer: FakeScorer,
) -> None:
    monkeypatch.setattr(driver, "run", score)
    assert main(["run", "job.yaml"]) == 0
    out, err = capsys.readouterr()
    assert "default/churn succeeded" in out
    assert "12 read, 10 written, 2 rejected, 0 filtered" in out
    assert "2 x Bind/NullInput: column 'a' is null" in out
    assert f"bij verify {job}/out" in out
    assert "note: without effect locally: spec.suspend" in err
    assert "error" not in err
    assert scorer.closed


def test_a_finished_job_is_not_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "run", find_complete)
    assert main(["run", "job.yaml"]) == 0
    assert "already complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InvalidJob(Reason.INPUT_NOT_FOUND, "no file"), 65, "error: InputNotFound: no file"),
        (JobFailed(Reason.ROW_REJECTED, "row 3"), 70, "error: RowRejected: row 3"),
        (
            Unavailable("s3://u:pw@b is away"),
            1,
            "error: Unavailable: s3://***@b is away; what is committed stays;"  # noqa: ISC004 - one line
            " run the same command again to resume",
        ),
    ],
)
def test_a_failure_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    line: str,
) -> None:
    monkeypatch.setattr(driver, "run", failing(error))
    assert main(["run", "job.yaml"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == line
    assert "Traceback" not in err


def test_a_defect_shows_its_traceback_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "run", failing(KeyError("password=hunter22")))
    assert main(["run", "job.yaml"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "hunter22" not in err


class Panic(BaseException):
    """What a library in Rust raises, which no `except Exception` sees."""


def test_a_report_is_left_whatever_is_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "run", failing(Panic("called `unwrap` on an `Err`")))
    assert main(["run", "job.yaml", "--output-format", "json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["report"]["final"]
    assert "Panic: called `unwrap`" in json.loads(out)["report"]["message"]
    assert "Traceback" in err


def test_an_invalid_manifest_is_refused(capsys: pytest.CaptureFixture[str], job: Path) -> None:
    (job / "job.yaml").write_text(MANIFEST.replace("storageUris", "storageUrls"))
    assert main(["run", "job.yaml", "--output-format", "json"]) == 65
    out, err = capsys.readouterr()
    assert (json.loads(out)["exitCode"], json.loads(out)["reason"]) == (65, "InvalidSpec")
    assert "error: InvalidSpec:" in err


@pytest.mark.parametrize(("run", "code"), [(wait_for_stop, 130), (wait_for_termination, 143)])
def test_a_signal_stops_the_run_and_says_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Any, code: int
) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(driver, "run", run)
    assert main(["run", "job.yaml", "--set", "spec.output.mode=Append"]) == code
    err = capsys.readouterr().err
    assert "resume with: bij run job.yaml --set spec.output.mode=Append" in err
    if code == 130:
        assert "1 of 3 shards (10 rows) are committed" in err
    assert signal.getsignal(signal.SIGINT) is before


def test_json_is_one_document_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "run", score)
    assert main(["run", "job.yaml", "--output-format", "json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["outcome"] == "Succeeded"
    assert document["report"]["rows"]["written"] == 10
    assert document["withoutEffect"] == ["spec.suspend"]
    assert all(json.loads(line) for line in err.splitlines())


def test_a_driver_leaves_its_report_as_the_termination_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], job: Path
) -> None:
    configs: list[RunnerConfig] = []

    def fail(launched: Launch, **_: Any) -> Outcome:
        configs.append(launched.config)
        raise JobFailed(Reason.ROW_REJECTED, "row 3")

    monkeypatch.setattr(driver, "run", fail)
    assert main(["run", "job.yaml"]) == 70
    config = configs[0].model_dump(mode="json") | {"run": {"number": 4, "headAddress": "h:0"}}
    (job / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("BIJ_TERMINATION_LOG", str(job / "log"))
    assert main(["driver", "--config", "config.json", "--ip", "127.0.0.1"]) == 70
    report = ProgressReport.model_validate_json((job / "log").read_bytes())
    assert (report.final, report.phase, report.reason) == (True, RunPhase.FAILED, "RowRejected")
    assert report.run_number == 4
    assert capsys.readouterr().out == ""


def test_a_config_of_another_contract_is_refused(
    capsys: pytest.CaptureFixture[str], job: Path
) -> None:
    (job / "config.json").write_text('{"contractVersion": 9}')
    assert main(["driver", "--config", "config.json"]) == 65
    assert "contract version 9 is not supported" in capsys.readouterr().err


def test_a_display_that_lost_its_terminal_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def show(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(display.PlainLines, "show", show)
    monkeypatch.setattr(driver, "run", score)
    assert main(["run", "job.yaml"]) == 0
    assert "succeeded" in capsys.readouterr().out
