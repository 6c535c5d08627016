"""`bij verify` and `bij gc`: what they say and what they exit with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batch_inference_runner.__main__ import main
from batch_inference_runner.cli.outputs import location_of
from batch_inference_runner.commit import garbage, verify
from batch_inference_runner.storage.store import AccessDenied, StoreError


def test_a_path_counts_from_the_working_directory_and_is_taken_literally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert location_of("a b%20c", None).uri == f"file://{tmp_path}/a b%20c/"
    assert location_of("s3://bucket/out", str(tmp_path)).credentials_dir == str(tmp_path)


def test_problems_are_listed_and_exit_with_70(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "verify", lambda _: ["part-0: size differs"])
    assert main(["verify", str(tmp_path)]) == 70
    assert capsys.readouterr().out.splitlines()[1] == "  part-0: size differs"
    assert main(["verify", str(tmp_path), "--output-format", "json"]) == 70
    assert json.loads(capsys.readouterr().out)["problems"] == ["part-0: size differs"]


@pytest.mark.parametrize("error", [StoreError("the store is away"), AccessDenied("denied")])
def test_a_store_that_fails_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def fail(_: object) -> list[str]:
        raise error

    monkeypatch.setattr(verify, "verify", fail)
    assert main(["verify", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: Unavailable: {error}\n"


def test_what_was_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def collect(_: object, *, release: bool) -> tuple[str, ...]:
        asked.append(release)
        return ("_bij/x",)

    monkeypatch.setattr(garbage, "collect", collect)
    assert main(["gc", str(tmp_path), "--release"]) == 0
    assert asked == [True]
    assert capsys.readouterr().out.startswith("removed _bij/x\n1 object removed")


@pytest.mark.parametrize("path", ["nope", "data/patients.csv", "data"])
def test_a_location_that_no_job_wrote_to_is_not_called_clean(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "patients.csv").write_text("a\n1\n")

    assert main(["gc", f"{tmp_path}/{path}"]) == 65

    told = f"error: InvalidSpec: there is nothing of a job in 'file://{tmp_path}/{path}/'"
    assert capsys.readouterr().err.startswith(told)
