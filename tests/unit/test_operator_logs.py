"""Logs are JSON lines without secrets."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from batch_inference_operator.logs import JsonFormatter
from batch_inference_operator.redaction import redact


def write(message: str, *args: object, exc_info: Any = None, **extra: object) -> dict[str, Any]:
    record = logging.getLogger("batch_inference_operator.test").makeRecord(
        "batch_inference_operator.test",
        logging.WARNING,
        "file.py",
        1,
        message,
        args,
        exc_info,
        extra=extra,
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    document: dict[str, Any] = json.loads(line)
    return document


def test_a_line_has_the_message_and_its_fields() -> None:
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


def test_secrets_are_taken_out_of_message_fields_and_traceback() -> None:
    try:
        raise ValueError("https://user:hunter22@store/x")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    line = write("sent %s", "Authorization: Bearer abcdefgh", exc_info=info, uri="s3://a:b@c")
    assert line["message"] == "sent Authorization: ***"
    assert line["uri"] == "s3://***@c"
    assert "hunter22" not in line["traceback"]


def test_what_kopf_hangs_on_its_records_is_left_out() -> None:
    assert "k8s_ref" not in write("event", k8s_ref={"name": "churn"}, settings=object())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://a.b/c?X-Amz-Signature=abc&x=1", "GET https://a.b/c?X-Amz-Signature=***&x=1"),
        ("az://c/d?sv=2024&sig=abc%3D", "az://c/d?sv=***&sig=***"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", "{'Authorization': '***'}"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+1", "AWS_SECRET_ACCESS_KEY=***"),
        ("key AKIAIOSFODNN7EXAMPLE is wrong", "key *** is wrong"),
        ("token eyJhbGciOiJSUzI1NiI.eyJpc3MiOiJrdWJl.c2ln", "token ***"),
        ("a job of 3 pods at s3://bucket/path", "a job of 3 pods at s3://bucket/path"),
    ],
)
def test_redaction(text: str, expected: str) -> None:
    assert redact(text) == expected
