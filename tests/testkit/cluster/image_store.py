"""The images of one node, through containerd's own client."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path


class ImageStore:
    """What `ctr images` says and does, wherever that runs."""

    def __init__(self, ctr: tuple[str, ...]) -> None:
        self._ctr = ctr

    def load(self, archive: Path, name: str) -> bool:
        """Import an image from an OCI archive under a name; False if it was there already."""
        digest = archived_digest(archive)
        if self._listed().get(name) == digest:
            return False
        # Archives name their image in many ways, or not at all; its digest is always there.
        imported = f"import.local/{digest.removeprefix('sha256:')}"
        self._import(archive, imported)
        self._images("tag", "--force", f"{imported}@{digest}", name)
        self._images("remove", *(each for each in self._listed() if each.startswith(imported)))
        return True

    def keep_only(self, repository: str, names: list[str]) -> None:
        """Remove the other versions of an image, which would fill the disk in time.

        A node need not have all that are kept: it may have been added after they were loaded.
        """
        listed = self._listed()
        old = {name for name in listed if name.startswith(f"{repository}:")} - set(names)
        kept = {listed[name] for name in names if name in listed}
        digests = {listed[name] for name in old} - kept
        # The kubelet's side of containerd keeps a second name, of the configuration's digest.
        old |= {name for name in listed if name.startswith("sha256:") and listed[name] in digests}
        if old:
            # At once: what `_import` finds here must not be about to go.
            self._images("remove", "--sync", *sorted(old))

    def _import(self, archive: Path, base_name: str) -> None:
        """Send an archive without the blobs that are here: most of it stays as it was."""
        known = set(self._call("content", "list", "--quiet").split())
        command = [*self._ctr, "images", "import", "--digests", "--base-name", base_name, "-"]
        with (
            tarfile.open(archive) as whole,
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as importing,
        ):
            assert importing.stdin is not None
            with (
                contextlib.suppress(BrokenPipeError),  # it says why itself
                importing.stdin,
                tarfile.open(fileobj=importing.stdin, mode="w|") as part,
            ):
                for entry in whole:
                    if f"sha256:{entry.name.removeprefix('blobs/sha256/')}" not in known:
                        part.addfile(entry, whole.extractfile(entry) if entry.isfile() else None)
            if importing.wait() != 0:
                said.seek(0)
                raise RuntimeError(f"{archive} was not imported: {said.read().decode()}")

    def _listed(self) -> dict[str, str]:
        """Return the digest behind each name."""
        lines = [line.split() for line in self._images("list").splitlines()[1:]]
        return {words[0]: words[2] for words in lines}

    def _images(self, *arguments: str) -> str:
        return self._call("images", *arguments)

    def _call(self, *arguments: str) -> str:
        called = subprocess.run(
            [*self._ctr, *arguments], check=False, capture_output=True, text=True
        )
        if called.returncode != 0:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {called.stderr.strip()}")
        return called.stdout


def archived_digest(archive: Path) -> str:
    """Return the digest of the one image in an OCI archive."""
    with tarfile.open(archive) as tar:
        index = tar.extractfile("index.json")
        assert index is not None, f"{archive} is no OCI archive"
        (manifest,) = json.load(index)["manifests"]
        return manifest["digest"]
