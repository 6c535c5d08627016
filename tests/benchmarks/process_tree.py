"""Runs a command and measures its whole process tree: wall, CPU and peak memory.

Memory is what is really occupied (anonymous and shared memory, not the page cache), sampled at
10 Hz from a cgroup of its own where one may be made (version 1 or 2), else as the sum of the
processes' proportional shares.
"""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
SAMPLE_SECONDS = 0.1
ENTER = 'for door in $DOORS; do echo $$ > "$door"; done; exec "$@"'
"""A process enters the groups before it becomes the command, so nothing goes uncounted."""


@dataclass(frozen=True)
class Measured:
    """What a command cost."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    memory_source: str
    returncode: int
    output: str


class CgroupV1:
    """A memory and a cpuacct group of the legacy hierarchy."""

    source = "cgroup v1, rss + shmem"

    def __init__(self, name: str) -> None:
        self.memory, self.cpu = CGROUPS / "memory" / name, CGROUPS / "cpuacct" / name
        self.memory.mkdir()
        try:
            self.cpu.mkdir()
        except OSError:
            self.memory.rmdir()
            raise

    def doors(self) -> tuple[Path, ...]:
        return (self.memory / "cgroup.procs", self.cpu / "cgroup.procs")

    def memory_bytes(self) -> int:
        return sum_of(self.memory / "memory.stat", ("total_rss", "total_shmem"))

    def cpu_seconds(self) -> float:
        return int((self.cpu / "cpuacct.usage").read_text()) / 1e9

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.memory / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        self.memory.rmdir()
        self.cpu.rmdir()


class CgroupV2:
    """A group of the unified hierarchy."""

    source = "cgroup v2, anon + shmem"

    def __init__(self, name: str) -> None:
        self.group = CGROUPS / name
        self.group.mkdir()
        if not (self.group / "memory.stat").exists():
            self.group.rmdir()
            raise OSError("the memory controller is not delegated")

    def doors(self) -> tuple[Path, ...]:
        return (self.group / "cgroup.procs",)

    def memory_bytes(self) -> int:
        return sum_of(self.group / "memory.stat", ("anon", "shmem"))

    def cpu_seconds(self) -> float:
        return sum_of(self.group / "cpu.stat", ("usage_usec",)) / 1e6

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.group / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        self.group.rmdir()


class ProcessTable:
    """Sums over the descendants of one process where no cgroup may be made."""

    source = "sum of PSS, without file pages"

    def __init__(self) -> None:
        self.root = 0
        self.cpu_before = resource.getrusage(resource.RUSAGE_CHILDREN)

    def doors(self) -> tuple[Path, ...]:
        return ()

    def memory_bytes(self) -> int:
        return sum(
            sum_of(Path(f"/proc/{pid}/smaps_rollup"), ("Pss_Anon:", "Pss_Shmem:")) * 1024
            for pid in self.processes()
        )

    def cpu_seconds(self) -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = self.cpu_before
        return used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime

    def processes(self) -> list[int]:
        parents: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                parents[int(stat.parent.name)] = int(fields[1])
        found, waiting = [], [self.root]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += [child for child, parent in parents.items() if parent == pid]
        return found

    def remove(self) -> None:
        """Nothing was made."""


def sum_of(path: Path, keys: Sequence[str]) -> int:
    """Add up the named lines of a `key value` file; 0 when its process is gone."""
    try:
        lines = (line.split() for line in path.read_text().splitlines())
        return sum(int(line[1]) for line in lines if line and line[0] in keys)
    except OSError:
        return 0


def new_group(name: str) -> CgroupV1 | CgroupV2 | ProcessTable:
    """Return the best way of measuring that this machine allows."""
    for kind in (CgroupV2, CgroupV1):
        with suppress(OSError):
            return kind(name)
    return ProcessTable()


def measure(command: Sequence[str | Path], *, deadline_seconds: float = 1200) -> Measured:
    """Run a command to its end and measure it and everything it started.

    What it leaves running (Ray's daemons) is killed, by process id.
    """
    group = new_group(f"bij-bench-{os.getpid()}-{time.monotonic_ns()}")
    peak, over = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(SAMPLE_SECONDS):
            peak = max(peak, group.memory_bytes())

    sampler = threading.Thread(target=sample, daemon=True)
    began = time.perf_counter()
    process = subprocess.Popen(
        ["sh", "-c", ENTER, "sh", *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "DOORS": " ".join(map(str, group.doors()))},
    )
    if isinstance(group, ProcessTable):
        group.root = process.pid
    sampler.start()
    try:
        output, _ = process.communicate(timeout=deadline_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    wall = time.perf_counter() - began
    over.set()
    sampler.join()
    cpu = group.cpu_seconds()
    _end_left_over(group)
    return Measured(wall, cpu, peak, group.source, process.returncode, output)


def _end_left_over(group: CgroupV1 | CgroupV2 | ProcessTable) -> None:
    for _ in range(100):
        if isinstance(group, ProcessTable):
            return
        left = group.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        if not left:
            with suppress(OSError):
                group.remove()
                return
        time.sleep(0.05)
