"""How long a test goes on: a sample in `make test`, the figures of docs/soak.md in `make soak`."""

from __future__ import annotations

import os

IS_SOAK = os.environ.get("BIJ_SOAK") == "1"


def scaled(sample: int, *, soak: int) -> int:
    """Return the sample, or under BIJ_SOAK=1 the long figure."""
    return soak if IS_SOAK else sample
