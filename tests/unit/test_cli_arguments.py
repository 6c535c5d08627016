"""What can be typed, what is refused, and which exit code says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batch_inference_runner.__main__ import main
from batch_inference_runner.cli.arguments import parse
from batch_inference_runner.schedule.scorer_process import ScorerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


class Forked:
    """What stands for the scorers that were forked, and how many of them are left."""

    def __init__(self) -> None:
        self.left = 0

    def fork(self) -> Forked:
        self.left += 1
        return self

    def close(self) -> None:
        self.left -= 1


@pytest.fixture(autouse=True)
def _scorers_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    forked = Forked()
    monkeypatch.setattr(ScorerProcess, "fork", forked.fork)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text("")
    (tmp_path / "data").mkdir()
    yield
    assert forked.left == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "required: job.yaml"),
        (["run", "missing.yaml"], "there is no file 'missing.yaml'"),
        (["run", "data"], "is a folder"),
        (["run", "job.yaml", "--workers", "0"], "'0' is not a whole number above 0"),
        (["run", "job.yaml", "--workers", "two"], "'two' is not a whole number above 0"),
        (["run", "job.yaml", "--progress-port", "70000"], "'70000' is not a port"),
        (["run", "job.yaml", "--set", "spec.x"], "does not look like spec.output.mode=Overwrite"),
        (["run", "job.yaml", "--output", ""], "argument --output: it is empty"),
        (["validate", "job.yaml", "--output", " "], "argument --output: it is empty"),
        (["run", "job.yaml", "--set", "spec.output.mode="], "'spec.output.mode=' has no value"),
        (["run", "job.yaml", "--set", "spec.output.mode=  "], "'spec.output.mode=  ' has no value"),
        (["run", "job.yaml", "--volume", "claim="], "there is no folder ''"),
        (["run", "job.yaml", "--secret", "name="], "there is no folder ''"),
        (["run", "job.yaml", "--volume", "data"], "does not look like NAME=DIR"),
        (["run", "job.yaml", "--volume", "claim=nowhere"], "there is no folder 'nowhere'"),
        (["run", "job.yaml", "--secret", "=data"], "does not look like NAME=DIR"),
        (["run", "job.yaml", "--output-format", "xml"], "invalid choice: 'xml'"),
        (["run", "job.yaml", "--work", "2"], "unrecognized arguments: --work"),
        (["verify"], "required: OUTPUT"),
        (["verify", ""], "argument OUTPUT: it is empty"),
        (["gc", ""], "argument OUTPUT: it is empty"),
        (["verify", "out", "--secret-dir", ""], "there is no folder ''"),
        (["verify", "out", "--secret-dir", "nowhere"], "there is no folder 'nowhere'"),
        (["driver"], "required: --config"),
        (["worker", "--config", "missing.json"], "there is no file 'missing.json'"),
    ],
)
def test_usage_errors_exit_with_64_and_say_what_is_wrong(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "--help" in err


@pytest.mark.parametrize(
    "argv", [[], ["run"], ["validate"], ["verify"], ["gc"], ["schema"], ["driver"], ["worker"]]
)
def test_help_goes_to_stdout_and_fits_a_terminal(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*argv, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    if argv and argv[0] not in ("driver", "worker"):
        assert "examples:" in out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bij 0.")


def test_repeated_options_add_up() -> None:
    arguments = parse(
        ["run", "job.yaml", "--volume", "a=data", "--volume", "b=.", "--set", "spec.x=1",
         "--set", "spec.y=a=b"]
    )  # fmt: skip
    assert arguments.volume == {"a": "data", "b": "."}
    assert arguments.set == ["spec.x=1", "spec.y=a=b"]
    assert arguments.secret == {}
    assert arguments.words[:2] == ("run", "job.yaml")


@pytest.mark.parametrize("sign", ["\t", " ", "~"])
def test_a_single_sign_is_a_value_even_if_it_is_blank(sign: str) -> None:
    word = f"spec.input.csv.delimiter={sign}"
    assert parse(["run", "job.yaml", "--set", word]).set == [word]


@pytest.fixture
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> ScorerProcess:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(ScorerProcess, "fork", fork)


@pytest.mark.usefixtures("_no_processes")
def test_a_scorer_that_cannot_be_forked_is_told_as_json(capsys) -> None:
    assert main(["run", "job.yaml", "--output-format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert "Resource temporarily unavailable" in document["message"]


@pytest.mark.usefixtures("_no_processes")
@pytest.mark.parametrize(("words", "code"), [(["run", "--help"], 0), (["run", "--fly"], 64)])
def test_help_and_mistakes_are_told_where_no_scorer_can_be_forked(words, code, capsys) -> None:
    assert main(words) == code
    assert "usage: bij run" in "".join(capsys.readouterr())
