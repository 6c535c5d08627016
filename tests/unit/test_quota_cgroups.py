"""CPU and memory limits, read from fixture trees of cgroup v1, v2 and both."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_inference_runner.quota import cpu_quota, memory_kills, memory_limit_bytes

V2 = "30 23 0:26 {root} {point} ro - cgroup2 cgroup rw\n"
V1_CPU = "32 31 0:29 {root} /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
GIB = 1 << 30


def v2(root: str = "/", point: str = "/sys/fs/cgroup") -> str:
    return V2.format(root=root, point=point)


def v1(root: str = "/") -> str:
    return V1_CPU.format(root=root) + V1_MEMORY.format(root=root)


CASES = [
    pytest.param("0::/\n", v2(), {}, 8, 64 * GIB, id="v2 without limits"),
    pytest.param(
        "0::/\n",
        v2(),
        {"cpu.max": "250000 100000", "memory.max": str(2 * GIB)},
        2,
        2 * GIB,
        id="v2 in a container with its own cgroup namespace",
    ),
    pytest.param(
        "0::/\n", v2(), {"cpu.max": "max 100000", "memory.max": "max"}, 8, 64 * GIB, id="v2 max"
    ),
    pytest.param("0::/\n", v2(), {"cpu.max": "50000 100000"}, 1, 64 * GIB, id="half a CPU is one"),
    pytest.param(
        "0::/pods/one/app\n",
        v2(),
        {
            "pods/one/cpu.max": "300000 100000",
            "pods/one/app/cpu.max": "max 100000",
            "pods/memory.max": str(3 * GIB),
            "pods/one/app/memory.max": str(4 * GIB),
        },
        3,
        3 * GIB,
        id="v2 nested: the smallest ancestor counts",
    ),
    pytest.param(
        "0::/pods/one\n",
        v2(root="/pods/one"),
        {"cpu.max": "400000 100000"},
        4,
        64 * GIB,
        id="v2 in a container that sees the host's path",
    ),
    pytest.param(
        "0::/../../other\n",
        v2(),
        {"cpu.max": "200000 100000"},
        2,
        64 * GIB,
        id="v2 outside of the namespace",
    ),
    pytest.param(
        "4:memory:/pods/x\n1:cpu,cpuacct:/pods/x\n",
        v1(root="/pods/x"),
        {
            "cpu/cpu.cfs_quota_us": "350000",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": str(GIB),
        },
        3,
        GIB,
        id="v1 in a container",
    ),
    pytest.param(
        "4:memory:/\n1:cpu,cpuacct:/\n",
        v1(),
        {
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
        },
        8,
        64 * GIB,
        id="v1 without limits",
    ),
    pytest.param(
        "4:memory:/a/b\n1:cpu,cpuacct:/a/b\n",
        v1(),
        {
            "cpu/a/b/cpu.cfs_quota_us": "600000",
            "cpu/a/b/cpu.cfs_period_us": "100000",
            "cpu/a/cpu.cfs_quota_us": "200000",
            "cpu/a/cpu.cfs_period_us": "100000",
            "memory/a/b/memory.limit_in_bytes": str(5 * GIB),
        },
        2,
        5 * GIB,
        id="v1 nested",
    ),
    pytest.param(
        "4:memory:/x\n1:cpu,cpuacct:/\n0::/\n",
        v1() + v2(point="/sys/fs/cgroup/unified"),
        {"memory/x/memory.limit_in_bytes": str(7 * GIB)},
        8,
        7 * GIB,
        id="hybrid",
    ),
    pytest.param("", "", {}, 8, 64 * GIB, id="no cgroups at all"),
]


@pytest.mark.parametrize(("cgroup", "mountinfo", "files", "cpus", "memory"), CASES)
def test_limits(
    tmp_path: Path, cgroup: str, mountinfo: str, files: dict[str, str], cpus: int, memory: int
) -> None:
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    (proc / "mountinfo").write_text("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mountinfo)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cpu_quota(proc=proc, root=tmp_path, affinity=8) == cpus
    assert memory_limit_bytes(proc=proc, root=tmp_path, physical_bytes=64 * GIB) == memory


def test_a_narrow_affinity_wins(tmp_path: Path) -> None:
    assert cpu_quota(proc=tmp_path, root=tmp_path, affinity=2) == 2


def test_this_machine_has_limits() -> None:
    assert cpu_quota() >= 1
    assert memory_limit_bytes() > 1 << 20


V1_EVENTS = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
V2_EVENTS = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "file", "events", "kills"),
    [
        pytest.param("0::/\n", v2(), "memory.events", V2_EVENTS, 1, id="v2"),
        pytest.param("4:memory:/\n", v1(), "memory/memory.oom_control", V1_EVENTS, 3, id="v1"),
        pytest.param(
            "4:memory:/\n0::/\n",
            v2(point="/sys/fs/cgroup/unified") + v1(),
            "memory/memory.oom_control",
            V1_EVENTS,
            3,
            id="both, memory in v1",
        ),
        pytest.param("0::/\n", v2(), "memory.max", "max", 0, id="a kernel that does not count"),
        pytest.param("", "", "memory.events", V2_EVENTS, 0, id="no cgroups at all"),
    ],
)
def test_processes_that_were_killed_for_want_of_memory_are_counted(
    tmp_path: Path, cgroup: str, mountinfo: str, file: str, events: str, kills: int
) -> None:
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    (proc / "mountinfo").write_text(mountinfo)
    path = tmp_path / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(events)
    assert memory_kills(proc=proc, root=tmp_path) == kills
