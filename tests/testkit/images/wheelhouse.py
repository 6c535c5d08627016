"""The pinned wheels in a folder, so that building an image needs no index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from testkit.images.debian import PYTHON_VERSION

_SECONDS = 1800


def download(folder: Path, pins: tuple[Path, ...]) -> None:
    """Fill `folder` with the wheels of these lock files; pip compares them with their hashes."""
    requirements = [word for path in pins for word in ("--requirement", str(path))]
    subprocess.run(
        [
            *("nice", _python(), "-m", "pip", "download", "--quiet"),
            *("--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"),
            *("--only-binary", ":all:", "--dest", str(folder)),
            *requirements,
        ],
        check=True,
        timeout=_SECONDS,
        env={**os.environ, "PIP_NO_INDEX": ""},
    )


def _python() -> str:
    """A Python like the image's: pip chooses wheels for the Python that runs it."""
    if sys.version_info[:2] == PYTHON_VERSION:
        return sys.executable
    name = "python{}.{}".format(*PYTHON_VERSION)
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} was not found: wheels for the images need its pip")
    return found
