"""The control groups of a node: everything it runs can be frozen, and ended, as one.

Both layouts are known: one hierarchy (cgroup v2), or one per controller (v1).
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from testkit.deadlines import wait_for

_MOUNTS = Path("/proc/self/mounts")


class NodeGroup:
    """The group of one node: `machine` in it holds its programs, the kubelet adds its pods."""

    def __init__(self, name: str) -> None:
        self.path = f"/{name}"
        self._hierarchies = _hierarchies()

    def create(self) -> None:
        for controllers, root in self._hierarchies.items():
            group = root / self.path[1:]
            (group / "machine").mkdir(parents=True, exist_ok=True)
            if "unified" in controllers:
                _delegate_everything(root)
                _delegate_everything(group)

    @property
    def machine_folder(self) -> str:
        """The folder whose `cgroup.procs` takes the node's own programs."""
        return str(self._tree() / "machine")

    def freeze(self) -> None:
        """Stop every process of the node where it stands, as a machine does that has hung."""
        self._set_frozen(True)

    def thaw(self) -> None:
        if self._tree().exists():
            self._set_frozen(False)

    def end_pods(self) -> None:
        """Kill every process of the node's pods."""
        self._end(self._tree() / "kubepods")

    def end_everything(self) -> None:
        """Kill every process of the node, its own programs included."""
        self._end(self._tree())

    def remove(self) -> None:
        """Delete the group's folders, innermost first."""
        for root in self._hierarchies.values():
            for folder, _, _ in os.walk(root / self.path[1:], topdown=False):
                Path(folder).rmdir()

    def _end(self, folder: Path) -> None:
        if not folder.exists():
            return
        wait_for(
            lambda: self._kill_once(folder), seconds=30, what=f"the end of what runs in {folder}"
        )

    def _kill_once(self, folder: Path) -> bool:
        """Kill what runs now; True if nothing did. Who is listed in our group is ours."""
        self.freeze()  # or a shell in a loop would have new children before the old are killed
        alive = _processes_below(folder)
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.thaw()
        return not alive

    def _set_frozen(self, frozen: bool) -> None:
        folder = self._tree()
        if (folder / "freezer.state").exists():
            (folder / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        else:
            (folder / "cgroup.freeze").write_text("1" if frozen else "0")

    def _tree(self) -> Path:
        """The node's folder in the hierarchy that can freeze."""
        by_freezer = [root for names, root in self._hierarchies.items() if "freezer" in names]
        (root,) = by_freezer or self._hierarchies.values()
        return root / self.path[1:]


def _processes_below(folder: Path) -> list[int]:
    found: list[int] = []
    for listing in folder.rglob("cgroup.procs"):
        try:
            found += map(int, listing.read_text().split())
        except OSError:
            continue  # the group went while it was read
    return found


def _hierarchies() -> dict[frozenset[str], Path]:
    """Every mounted hierarchy, by its options, controllers among them; v2 is called `unified`."""
    found: dict[frozenset[str], Path] = {}
    for line in _MOUNTS.read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup":
            found.setdefault(frozenset(options.split(",")), Path(where))
        elif kind == "cgroup2":
            found.setdefault(frozenset({"unified"}), Path(where))
    return found


def _delegate_everything(folder: Path) -> None:
    """Let the groups below have every controller; beside v1 hierarchies v2 has none to give."""
    available = (folder / "cgroup.controllers").read_text().split()
    for controller in available:
        (folder / "cgroup.subtree_control").write_text(f"+{controller}")
