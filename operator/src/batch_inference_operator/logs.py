"""Structured logs: one JSON object a line on stderr, with every secret taken out.

A message is constant; what varies goes into `extra`:

    logger.info("run created", extra={"job": "default/churn", "run": 2})
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from batch_inference_operator.redaction import redact

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CHATTY = ("kopf", "aiohttp.access", "asyncio")
"""Libraries of which only warnings are shown: kopf, for one, tells of each event of each object."""
_KOPF_EXTRAS = frozenset({"settings", "k8s_ref", "k8s_skip", "k8s_posting", "k8s_queue"})
"""Whole objects that kopf hangs on its records for its own formatters."""


class JsonFormatter(logging.Formatter):
    """Time (RFC 3339, UTC), level, logger, message, then what the call gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        document |= {name: _redacted(value) for name, value in _fields_of(record).items()}
        if record.exc_info and record.exc_info[0] is not None:
            document["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(document, ensure_ascii=False)


def configure(level: str) -> None:
    """Send all logs of this process to stderr; `level` is for this package only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("batch_inference_operator").setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    left_out = _STANDARD | _KOPF_EXTRAS
    return {name: value for name, value in vars(record).items() if name not in left_out}


def _redacted(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))
