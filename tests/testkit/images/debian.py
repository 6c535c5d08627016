"""The base image: Debian with Python and certificates, as `debian:bookworm-slim` with these is.

One bootstrap gives two file systems: with what makes virtual environments, for the stages that
build, and without, for what is shipped.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

PYTHON_VERSION = (3, 11)
SHIPPED = "shipped.tar"
BUILDING = "building.tar"
_RELEASE = "bookworm"
_SHIPPED = ("python3", "ca-certificates", "usr-is-merged")
_BUILDING = ("python3-venv", "python3.11-venv", "python3-pip-whl", "python3-setuptools-whl")
_LEFT_OUT = tuple(f"/usr/share/{name}/*" for name in ("doc", "info", "locale", "man"))
"""Debian's own slim images leave the same out."""

_SAVE_BUILDING = (
    'tar --create --file="{target}" --directory="$1" --one-file-system'
    " --exclude=./var/cache/apt/* --exclude=./var/lib/apt/lists/* --exclude=./dev/* ."
)
_REMOVE_BUILDING = 'chroot "$1" dpkg --purge {packages} >/dev/null'
_SECONDS = 900


def definition() -> str:
    """Say all that decides what is bootstrapped."""
    return "\0".join(_command(Path()))


def digest() -> str:
    """Name it shortly."""
    return hashlib.sha256(definition().encode()).hexdigest()[:16]


def bootstrap(folder: Path) -> None:
    """Write SHIPPED and BUILDING to `folder`, made of Debian's packages."""
    # Even with --quiet its hooks tell what they do.
    done = subprocess.run(
        _command(folder), capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"Debian could not be bootstrapped:\n{done.stdout}{done.stderr}")


def _command(folder: Path) -> list[str]:
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join((*_SHIPPED, *_BUILDING))}",
        '--aptopt=APT::Install-Recommends "false"',
        # A file system that begins merged needs no Perl to merge it.
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f"--customize-hook={_SAVE_BUILDING.format(target=folder / BUILDING)}",
        f"--customize-hook={_REMOVE_BUILDING.format(packages=' '.join(_BUILDING))}",
        _RELEASE,
        str(folder / SHIPPED),
    ]
