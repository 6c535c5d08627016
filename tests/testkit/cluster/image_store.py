"""The images of one node, through containerd's own client."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import IO

_IMPORTED = "import.local/archive"


class ImageStore:
    """What `ctr images` says and does, wherever that runs."""

    def __init__(self, ctr: tuple[str, ...]) -> None:
        self._ctr = ctr

    def load(self, archive: Path, name: str) -> bool:
        """Import an image from an OCI archive under a name; False if it was there already."""
        digest = archived_digest(archive)
        if self.digest_of(name) == digest:
            return False
        # Archives name their image in many ways, or not at all; its digest is always there.
        by_digest = f"{_IMPORTED}@{digest}"
        with archive.open("rb") as content:
            self._images("import", "--digests", "--base-name", _IMPORTED, "-", stdin=content)
        self._images("tag", "--force", by_digest, name)
        self._images("remove", by_digest)
        return True

    def digest_of(self, name: str) -> str | None:
        """Return what a name stands for here, if it is known."""
        for line in self._images("list", f"name=={name}").splitlines()[1:]:
            return next(word for word in line.split() if word.startswith("sha256:"))
        return None

    def _images(self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> str:
        called = subprocess.run(
            [*self._ctr, "images", *arguments],
            check=False,
            stdin=stdin,
            capture_output=True,
            text=True,
        )
        if called.returncode != 0:
            raise RuntimeError(f"ctr images {' '.join(arguments)}: {called.stderr.strip()}")
        return called.stdout


def archived_digest(archive: Path) -> str:
    """Return the digest of the one image in an OCI archive."""
    with tarfile.open(archive) as tar:
        index = tar.extractfile("index.json")
        assert index is not None, f"{archive} is no OCI archive"
        (manifest,) = json.load(index)["manifests"]
        return manifest["digest"]
