"""Commands whose standard streams are closed, full, or read by nobody."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

STDOUT = {"closed": ">&-", "full": ">/dev/full", "without a reader": "| true"}
STDERR = {"closed": "2>&-", "full": "2>/dev/full", "without a reader": "2>&1 >&3 | true"}


def in_shell(
    streams: str, *command: object, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with its streams redirected; descriptor 3 is the outer stdout."""
    script = f'"$@" {streams}; exit ${{PIPESTATUS[0]}}'
    words = ["bash", "-c", f"exec 3>&1; {script}", "bash", *map(str, command)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
