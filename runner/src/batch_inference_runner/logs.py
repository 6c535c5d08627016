"""Structured logs on stderr, with every secret taken out.

A message is constant; what varies goes into `extra`:

    logger.info("shard committed", extra={"shard": 3, "rows": 1000})

Pods write one JSON object a line, terminals get `time LEVEL message key=value`. Standard output is
never written: it belongs to results.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from typing import Any, TextIO

from batch_inference_api.logs import JsonFormatter, RedactingFilter, fields_of
from batch_inference_runner.redaction import redact


class TextFormatter(logging.Formatter):
    """`12:34:56 INFO shard committed shard=3`."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f" {key}={_shown(value)}" for key, value in fields_of(record).items())
        line = f"{at} {record.levelname} {record.getMessage()}{fields}"
        return "\n".join(part for part in (line, record.exc_text, record.stack_info) if part)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment: a live display may stand in for it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        raise AttributeError("logs go to sys.stderr")


def configure(*, json_lines: bool, verbose: bool = False, quiet: bool = False) -> None:
    """Send all logs of this process to stderr, once; a second call replaces the first.

    `verbose` shows DEBUG of this package (INFO of others), `quiet` warnings only.
    """
    handler = _StderrHandler()
    handler.addFilter(RedactingFilter(redact))
    handler.setFormatter(JsonFormatter() if json_lines else TextFormatter())
    root = logging.getLogger()
    root.handlers = [kept for kept in root.handlers if not isinstance(kept, _StderrHandler)]
    root.addHandler(handler)
    root.setLevel(logging.WARNING if quiet else logging.INFO)
    own = logging.getLogger("batch_inference_runner")
    own.setLevel(logging.DEBUG if verbose else logging.NOTSET)
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_thread_exception


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_type is SystemExit or arguments.exc_value is None:
        return
    name = arguments.thread.name if arguments.thread is not None else "?"
    logging.getLogger(__name__).error(
        "thread ended by an exception", exc_info=arguments.exc_value, extra={"thread_name": name}
    )


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return (
        json.dumps(text, ensure_ascii=False)
        if not text or any(c in ' "\n=' for c in text)
        else text
    )
