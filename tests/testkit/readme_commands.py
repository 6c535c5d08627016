"""Finds the shell commands of a README: the lines of its blocks fenced as `sh`."""

from __future__ import annotations

import re
from pathlib import Path

SH_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sh_blocks(readme: Path) -> tuple[str, ...]:
    """Return the blocks in the order in which a reader meets them."""
    return tuple(SH_BLOCK.findall(readme.read_text(encoding="utf-8")))


def sh_commands(readme: Path) -> tuple[str, ...]:
    """Return the single commands, without comments and blank lines."""
    lines = (line.strip() for block in sh_blocks(readme) for line in block.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
