"""The private folder of a scorer, where its model lies.

A scorer may be killed at any moment and then cannot clean up, so folders carry the process id and
whoever comes next removes those whose process has gone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_runner.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "bij-scorer-"


def _make_workspace() -> Path:
    """Make this process's folder, readable for nobody else, and remove left-over ones."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{_PREFIX}*"):
        if not _is_running(folder.name) and _is_own(folder):
            shutil.rmtree(folder, ignore_errors=True)  # somebody else may be removing it too
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


@contextmanager
def fresh_workspace() -> Iterator[Path]:
    """Make a folder that stays if the block ends well.

    Raises Unavailable for what the file system refuses, with what to do.
    """
    folder = None
    try:
        folder = _make_workspace()
        yield folder
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # the next try needs the room
        if not isinstance(error, OSError):
            raise
        raise Unavailable(
            f"the model could not be copied below {tempfile.gettempdir()!r}: "
            f"{error.strerror or error}; make room, or let TMPDIR name another folder"
        ) from error


def remove_workspace(pid: int) -> None:
    """Remove the folder of a scorer that has ended."""
    try:
        parent = Path(tempfile.gettempdir())
    except FileNotFoundError:
        return  # there is no folder to make one in, either
    for folder in parent.glob(f"{_PREFIX}{pid}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _is_own(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False  # somebody else has just removed it


def _is_running(name: str) -> bool:
    pid = name.removeprefix(_PREFIX).split("-")[0]
    return Path(f"/proc/{pid}").exists()
