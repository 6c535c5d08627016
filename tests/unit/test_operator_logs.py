"""Logs are JSON lines without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from batch_inference_operator import logs

LOGGER = logging.getLogger("batch_inference_operator.test")
Write = Callable[..., dict[str, Any]]


@pytest.fixture
def write(capsys: pytest.CaptureFixture[str]) -> Iterator[Write]:
    """Log a warning as the operator's process does, and return what it writes."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def written(message: str, *args: object, exc_info: Any = None, **extra: object) -> Any:
        root.handlers = []  # those of pytest would be closed
        logs.configure("info")
        LOGGER.warning(message, *args, exc_info=exc_info, extra=extra)
        (line,) = capsys.readouterr().err.splitlines()
        return json.loads(line)

    yield written
    root.handlers, root.level = handlers, level
    logging.getLogger("batch_inference_operator").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def test_a_line_has_the_message_and_its_fields(write: Write) -> None:
    line = write("reconcile put off", job="team/churn", again_in_s=0.5, failed=None)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "batch_inference_operator.test",
        "message": "reconcile put off",
        "job": "team/churn",
        "again_in_s": 0.5,
        "failed": None,
    }


def test_secrets_are_taken_out_of_message_fields_and_traceback(write: Write) -> None:
    error = ValueError("https://user:hunter22@store/x")
    line = write("sent %s", "Authorization: Bearer abcdefgh", exc_info=error, uri="s3://a:b@c")
    assert line["message"] == "sent Authorization: ***"
    assert line["uri"] == "s3://***@c"
    assert "ValueError" in line["traceback"]
    assert "hunter22" not in line["traceback"]


def test_what_kopf_hangs_on_its_records_is_left_out(write: Write) -> None:
    line = write("event", k8s_ref={"name": "churn"}, settings=object())
    assert not {"k8s_ref", "settings"} & line.keys()
