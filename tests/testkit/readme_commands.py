"""Finds the shell commands of a README: the lines of its blocks fenced as `sh`.

Blocks fenced as `bash` need a cluster.
"""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sh_blocks(readme: Path, language: str = "sh") -> tuple[str, ...]:
    """Return the blocks in the order in which a reader meets them."""
    found = _BLOCK.findall(readme.read_text(encoding="utf-8"))
    return tuple(block for fence, block in found if fence == language)


def sh_commands(readme: Path) -> tuple[str, ...]:
    """Return the single commands, without comments and blank lines."""
    lines = (line.strip() for block in sh_blocks(readme) for line in block.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
