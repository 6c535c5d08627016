"""The processes of a pod, found from the outside: they are processes of this machine too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testkit.processes import command_of, is_scorer


def pod_processes(pod: dict[str, Any]) -> list[int]:
    """Process ids of a pod's containers, those of their first processes included.

    The sandbox is none of them: a pod whose sandbox is killed is told to end.
    """
    statuses = pod["status"].get("containerStatuses", [])
    containers = [status.get("containerID", "").rpartition("/")[2] for status in statuses]
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            groups = path.read_text()
        except OSError:
            continue  # it has ended
        if any(container and container in groups for container in containers):
            found.append(int(path.parent.name))
    return found


def supervised_processes(pod: dict[str, Any]) -> list[int]:
    """Process ids of all that may be killed without the pod being lost: PID 1 is left out."""
    return [pid for pid in pod_processes(pod) if " pod " not in command_of(pid)]


def supervisor_of(pod: dict[str, Any]) -> int:
    """The process that is PID 1 in the container."""
    return _only(pod, " pod ")


def drivers_of(pod: dict[str, Any]) -> list[int]:
    """Those whose command says so; a scorer that a driver has forked has the same one."""
    found = [pid for pid in pod_processes(pod) if " driver " in command_of(pid)]
    return [pid for pid in found if not is_scorer(pid)]


def scorers_of(pod: dict[str, Any]) -> list[int]:
    return [pid for pid in pod_processes(pod) if is_scorer(pid)]


def _only(pod: dict[str, Any], word: str) -> int:
    (found,) = [pid for pid in pod_processes(pod) if word in command_of(pid)]
    return found
