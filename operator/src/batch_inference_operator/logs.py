"""Structured logs on stderr: one JSON object a line, with every secret taken out.

A message is constant; what varies goes into `extra`:

    logger.info("run created", extra={"job": "default/churn", "run": 2})
"""

from __future__ import annotations

import logging
import sys

from batch_inference_api.logs import JsonFormatter, RedactingFilter
from batch_inference_api.redaction import redact

_CHATTY = ("kopf", "aiohttp.access", "asyncio")
"""Libraries of which only warnings are shown: kopf, for one, tells of each event of each object."""
_KOPF_EXTRAS = frozenset({"settings", "k8s_ref", "k8s_skip", "k8s_posting", "k8s_queue"})
"""Whole objects that kopf hangs on its records for its own formatters."""


def configure(level: str) -> None:
    """Send all logs of this process to stderr; `level` is for this package only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RedactingFilter(redact, dropped=_KOPF_EXTRAS))
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("batch_inference_operator").setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
