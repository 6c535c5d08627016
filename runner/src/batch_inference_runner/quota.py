"""How many CPUs and how much memory this process may really use, not what the host has.

And whether that memory was used up.

Reads cgroup v1 and v2, hybrid set-ups too. Limits of all ancestors that can be seen apply, so the
smallest one counts. In a container the mount shows the container's own cgroup as its root, with or
without a cgroup namespace.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = Path("/proc/self")
_ROOT = Path("/")
_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2**63."""


class _Mount(NamedTuple):
    root: str
    """Which cgroup the mount point shows."""
    point: str
    version: int
    controllers: frozenset[str]
    """Version 1 only; a version 2 mount has them all."""


def cpu_quota(*, proc: Path = _PROC, root: Path = _ROOT, affinity: int | None = None) -> int:
    """CPUs this process may keep busy: min(floor(cgroup quota), affinity), at least 1.

    `proc` holds the files `cgroup` and `mountinfo`; mount points are looked up below `root`;
    `affinity` replaces the number of CPUs of the affinity mask.
    """
    cpus = len(os.sched_getaffinity(0)) if affinity is None else affinity
    quotas = [_cpu_limit(folder) for folder in _cgroup_folders("cpu", proc=proc, root=root)]
    limits = [int(quota) for quota in quotas if quota is not None]
    return max(1, min([cpus, *limits]))


def memory_limit_bytes(
    *, proc: Path = _PROC, root: Path = _ROOT, physical_bytes: int | None = None
) -> int:
    """Bytes of memory this process may use: the cgroup's limit or, if smaller, the machine's."""
    if physical_bytes is None:
        physical_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [_memory_limit(folder) for folder in _cgroup_folders("memory", proc=proc, root=root)]
    return min([physical_bytes, *(limit for limit in limits if limit is not None)])


def memory_kills(*, proc: Path = _PROC, root: Path = _ROOT) -> int:
    """How often the kernel has killed a process of this cgroup because its memory was used up."""
    for folder in _cgroup_folders("memory", proc=proc, root=root):
        # cgroup v2 and v1 have different files, but the same name for this count. Where both are
        # mounted, that of v2 has no memory controller, and so neither file.
        events = _read(folder / "memory.events") or _read(folder / "memory.oom_control")
        if events:
            counts = dict(line.split() for line in events.splitlines() if len(line.split()) == 2)
            return int(counts.get("oom_kill", 0))
    return 0


def _cpu_limit(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()
    if len(fields) == 2 and fields[0] != "max":
        return int(fields[0]) / int(fields[1])
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def _memory_limit(folder: Path) -> int | None:
    text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
    if not text or text == "max" or int(text) >= _UNLIMITED_BYTES:
        return None
    return int(text)


def _cgroup_folders(controller: str, *, proc: Path, root: Path) -> Iterator[Path]:
    """Folders whose limits apply: the process's own cgroup and the ancestors that are mounted."""
    paths = _cgroup_paths(_read(proc / "cgroup"))
    for mount in _cgroup_mounts(_read(proc / "mountinfo")):
        if mount.version == 1 and controller not in mount.controllers:
            continue
        path = paths.get("" if mount.version == 2 else controller)
        if path is None:
            continue
        top = root / mount.point.lstrip("/")
        own = top.joinpath(*_below(path, mount.root))
        folder = own if own.is_dir() else top
        while True:
            yield folder
            if folder == top:
                break
            folder = folder.parent


def _cgroup_paths(text: str) -> dict[str, str]:
    """Map each v1 controller, and "" for v2, to the process's cgroup."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _cgroup_mounts(text: str) -> Iterator[_Mount]:
    for line in text.splitlines():
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            _, _, _, root, point, *_ = mount.split(" ")
            yield _Mount(
                root=_unescape(root),
                point=_unescape(point),
                version=2 if kind == "cgroup2" else 1,
                controllers=frozenset(options.split(",")),
            )


def _below(path: str, mount_root: str) -> tuple[str, ...]:
    """The part of the cgroup's path below what is mounted; empty where the mount is the cgroup."""
    cgroup = PurePosixPath(path)
    if ".." in cgroup.parts or not cgroup.is_relative_to(mount_root):
        return ()
    return cgroup.relative_to(mount_root).parts


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
