"""Buildah with a storage of its own, which keeps the layers of earlier builds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testkit.checkout import ROOT

_SECONDS = 1800


def remove_storage(folder: Path) -> None:
    """Remove a folder that may be a storage: what lies in one is mounted onto itself."""
    if (folder / "overlay").is_mount():
        subprocess.run(["umount", str(folder / "overlay")], check=True)
    shutil.rmtree(folder)


class Buildah:
    """Images in one folder. Isolation is chroot: containers in containers need no more rights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What is mounted at the moment is noted below /run, which a restart empties as it unmounts.
        notes = Path("/run/batch-inference-images") / folder.name
        self._command = ("buildah", "--root", str(folder), "--runroot", str(notes))

    def has(self, image: str) -> bool:
        return bool(self._call("images", "--quiet", "--filter", f"reference={image}").strip())

    def import_file_system(self, archive: Path, image: str) -> None:
        """Make an image of one layer."""
        with self._container("scratch") as container:
            self._call("add", "--quiet", container, str(archive), "/")
            self._call("commit", "--quiet", container, image)

    def build(
        self, dockerfile: Path, image: str, *, wheels: Path, arguments: dict[str, str]
    ) -> None:
        """Build from the checkout; steps whose inputs were seen before are not run again."""
        given = {**arguments, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        self._call(
            "build",
            *("--isolation", "chroot", "--pull=never", "--layers", "--quiet"),
            *("--volume", f"{wheels}:/wheels:ro"),
            *(word for pair in given.items() for word in ("--build-arg", "=".join(pair))),
            *("--file", str(dockerfile), "--tag", image, str(ROOT)),
        )

    def export(self, image: str, folder: Path) -> None:
        """Write manifest, configuration and uncompressed layers as files named by their hashes."""
        self._call("push", "--quiet", "--disable-compression", image, f"dir:{folder}")

    def run(self, image: str, *command: str) -> str:
        """Run a command as the image's own user and return what it prints."""
        with self._container(image) as container:
            return self._call("run", "--isolation", "chroot", container, "--", *command)

    def config(self, image: str) -> dict[str, Any]:
        """What the image says about how it is run: User, Entrypoint, Env, Labels."""
        return json.loads(self._call("inspect", "--type", "image", image))["OCIv1"]["config"]

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """The image's file system."""
        with self._container(image) as container:
            yield Path(self._call("mount", container).strip())
            self._call("umount", container)

    @contextmanager
    def _container(self, image: str) -> Iterator[str]:
        container = self._call("from", "--pull-never", image).strip()
        try:
            yield container
        finally:
            self._call("rm", container)

    def _call(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"buildah {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout
