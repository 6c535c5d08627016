"""What the logs of all programs have in common: JSON lines, with every secret taken out.

A message is constant; what varies goes into `extra`:

    logger.info("shard committed", extra={"shard": 3, "rows": 1000})

Where logs go, and which of them, is each program's own affair. Standard library only.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class RedactingFilter(logging.Filter):
    """Redacts message, arguments, extras and traceback of every record that passes.

    Args:
        redact: replaces secrets in a text.
        dropped: names of extras that libraries hang on records for formatters of their own.
    """

    def __init__(
        self, redact: Callable[[str], str], *, dropped: frozenset[str] = frozenset()
    ) -> None:
        super().__init__()
        self._redact = redact
        self._dropped = dropped

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redact(record.getMessage()), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self._redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        for name, value in fields_of(record).items():
            if name in self._dropped:
                delattr(record, name)
            else:
                setattr(record, name, self._redacted(value))
        return True

    def _redacted(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, dict):
            return {
                self._redact(str(key)): self._redacted_item(key, item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._redacted(item) for item in value]
        return self._redact(str(value))

    def _redacted_item(self, key: object, value: Any) -> Any:
        # A rule may need the key to see that the value is a secret: {"password": "..."}.
        if isinstance(value, str):
            return self._redact(f"{key}={value}").partition("=")[2]
        return self._redacted(value)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, then the extras."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= fields_of(record)
        if record.exc_text:
            document["traceback"] = record.exc_text
        return json.dumps(document, default=str, ensure_ascii=False)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What the call gave as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
