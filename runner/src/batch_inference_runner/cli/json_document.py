"""The one JSON document that a command with `--output-format json` writes to stdout."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_document(document: Mapping[str, Any]) -> None:
    """Write plain JSON values to stdout, indented, and flush them."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()
