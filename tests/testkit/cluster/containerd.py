"""The container runtime of a node, and the images in it.

Its store outlives the cluster, in the cache: unpacking half a gigabyte of wheels takes longer than
starting everything else. What is left in it of pods is removed when a node stops, and again when
one starts, in case the last one never came to that.
"""

from __future__ import annotations

import os
import string
import subprocess
from pathlib import Path

from testkit.cluster.binaries import CACHE, Tools
from testkit.cluster.busybox_image import PAUSE
from testkit.cluster.image_store import ImageStore
from testkit.deadlines import wait_for

_TEMPLATE = Path(__file__).with_name("containerd.toml")


class Containerd:
    """containerd of one node, called by its socket."""

    def __init__(self, name: str, folder: Path, tools: Tools) -> None:
        self.folder = folder
        self.socket = folder / "containerd.sock"
        self._store = CACHE / "containerd" / name
        self._tools = tools
        self.images = ImageStore(self._ctr_command())

    def write_settings(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._store.mkdir(parents=True, exist_ok=True)
        template = string.Template(_TEMPLATE.read_text())
        settings = template.substitute(
            root=self._store,
            state=self.folder / "state",
            socket=self.socket,
            pause_image=PAUSE,
            cni_folder=self.folder / "cni",
        )
        (self.folder / "containerd.toml").write_text(settings)

    def arguments(self) -> tuple[str, ...]:
        program = self._tools.containerd / "containerd"
        return (str(program), "--config", str(self.folder / "containerd.toml"))

    def wait_until_ready(self) -> None:
        wait_for(self._answers, seconds=30, what=f"containerd to answer on {self.socket}")

    def remove_leftovers(self) -> bool:
        """Remove the containers of pods whose processes have ended; False if there were none."""
        containers = self._ctr("containers", "list", "--quiet").split()
        sandboxes = [line.split()[0] for line in self._ctr("sandboxes", "list").splitlines()[1:]]
        if containers:
            subprocess.run(
                self._ctr_command("tasks", "delete", "--force", *containers),
                check=False,
                capture_output=True,
            )
            self._ctr("containers", "delete", *containers)
        if sandboxes:
            self._ctr("sandboxes", "remove", "--force", *sandboxes)
        return bool(containers or sandboxes)

    def environment(self) -> dict[str, str]:
        """Its shim is found by PATH."""
        return {**os.environ, "PATH": self._tools.search_path}

    def _answers(self) -> bool:
        called = subprocess.run(self._ctr_command("version"), check=False, capture_output=True)
        return called.returncode == 0

    def _ctr(self, *arguments: str) -> str:
        called = subprocess.run(
            self._ctr_command(*arguments), check=False, capture_output=True, text=True
        )
        if called.returncode != 0:
            raise RuntimeError(f"ctr {' '.join(arguments)} failed: {called.stderr.strip()}")
        return called.stdout

    def _ctr_command(self, *arguments: str) -> tuple[str, ...]:
        program = self._tools.containerd / "ctr"
        return (str(program), "--address", str(self.socket), "--namespace", "k8s.io", *arguments)
