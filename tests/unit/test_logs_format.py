"""Log lines: their shape, where they go, and that no secret passes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from batch_inference_runner import logs

LOGGER = logging.getLogger("batch_inference_runner.example")
SECRET = "AKIAIOSFODNN7EXAMPLE"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    own = logging.getLogger("batch_inference_runner")
    yield
    root.handlers, root.level = handlers, level
    own.setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def test_a_json_line_has_the_fields_of_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json_lines=True)
    LOGGER.info("shard committed", extra={"shard": 3, "keys": ("a", SECRET)})
    out, err = capsys.readouterr()
    document = json.loads(err)
    assert out == ""
    assert document.pop("time").endswith("Z")
    assert document == {
        "level": "INFO",
        "logger": LOGGER.name,
        "message": "shard committed",
        "shard": 3,
        "keys": ["a", "***"],
    }


def test_a_text_line_reads_as_time_level_message_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(json_lines=False)
    LOGGER.warning("scorer lost", extra={"signal": "SIGSEGV", "shards": 2, "why": "two words"})
    line = capsys.readouterr().err.rstrip("\n")
    assert line.split(" ", 1)[1] == 'WARNING scorer lost signal=SIGSEGV shards=2 why="two words"'


@pytest.mark.parametrize("json_lines", [True, False])
def test_no_secret_passes(capsys: pytest.CaptureFixture[str], json_lines: bool) -> None:
    logs.configure(json_lines=json_lines)
    try:
        raise ValueError(f"https://u:{SECRET}@host/")
    except ValueError:
        LOGGER.exception("failed with %s", SECRET, extra={"d": {"password": "hunter2222"}})
    err = capsys.readouterr().err
    assert "ValueError" in err
    assert SECRET not in err
    assert "hunter2222" not in err


def test_quiet_shows_warnings_only_and_verbose_shows_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(json_lines=False, quiet=True)
    LOGGER.info("hidden")
    logs.configure(json_lines=False, verbose=True)
    LOGGER.debug("shown")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["shown"]
