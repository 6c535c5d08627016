"""The files of this checkout, as a clone would have them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE_BY_TOOLS = frozenset(
    {
        ".git",
        ".venv",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
        ".import_linter_cache",
        "__pycache__",
        "build",
        "dist",
        "data",
        "model",
        "output",
    }
)


@cache
def project_files() -> tuple[Path, ...]:
    """Return every file that belongs to the project, ignored ones left out, sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = (ROOT / line for line in listed.stdout.splitlines())
        return tuple(sorted(path for path in paths if path.is_file()))
    walked = (path for path in ROOT.rglob("*") if path.is_file())
    return tuple(
        sorted(path for path in walked if not MADE_BY_TOOLS & set(path.relative_to(ROOT).parts))
    )


def text_files() -> tuple[tuple[str, str], ...]:
    """Return the path below the root and the text of every file that is text."""
    found = []
    for path in project_files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return tuple(found)
