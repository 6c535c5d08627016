"""Finds the shell commands of a document.

In READMEs, blocks fenced as `sh` run anywhere; blocks fenced as `bash` need a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


def sh_blocks(readme: Path, language: str = "sh") -> tuple[str, ...]:
    """Return the blocks in the order in which a reader meets them."""
    found = _BLOCK.findall(readme.read_text(encoding="utf-8"))
    return tuple(block for fence, block in found if fence == language)


def sh_commands(readme: Path) -> tuple[str, ...]:
    """Return the single commands, without comments and blank lines."""
    lines = (line.strip() for block in sh_blocks(readme) for line in block.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def shown_commands(document: Path) -> tuple[str, ...]:
    """Return every line of fenced and indented blocks, and every span of code within the text."""
    return tuple(_code_of(document.read_text(encoding="utf-8").replace("\\\n", " ")))


def _code_of(text: str) -> Iterator[str]:
    is_fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced or line.startswith("    "):
            yield line.strip().removeprefix("$ ")
        else:
            yield from _SPAN.findall(line)
