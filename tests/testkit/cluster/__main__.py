"""The cluster for people: `make cluster`, `make cluster-shell`, `make cluster-down`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from testkit.cluster import local
from testkit.cluster.binaries import BuildFailed, built_tools
from testkit.cluster.machine import ClusterUnavailable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testkit.cluster", description=__doc__)
    parser.add_argument("command", choices=tuple(_COMMANDS))
    parser.add_argument("--name", default=local.default_name())
    chosen = parser.parse_args()
    try:
        return _COMMANDS[chosen.command](chosen.name)
    except (BuildFailed, ClusterUnavailable) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _build(_name: str) -> int:
    """Build ahead of the tests, which would do it in silence; without Go they are skipped."""
    try:
        built_tools()
    except BuildFailed as error:
        print(error, file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    return 0


def _up(name: str) -> int:
    cluster = local.find(name) or local.start(name)
    print(f"Running. export KUBECONFIG={cluster.kubeconfig}, or: make cluster-shell")
    return 0


def _down(name: str) -> int:
    print("Removed." if local.remove(name) else "No cluster was running.")
    return 0


def _shell(name: str) -> int:
    cluster = local.find(name)
    if cluster is None:
        print("No cluster is running: make cluster", file=sys.stderr)
        return 1
    environment = {**cluster.kubectl.environment(), "PATH": cluster.tools.search_path}
    shell = os.environ.get("SHELL", "/bin/sh")
    print(f"kubectl and helm in this shell talk to the cluster {name!r}; `exit` leaves it running.")
    return subprocess.run([shell], env=environment, check=False).returncode


_COMMANDS = {"build": _build, "up": _up, "down": _down, "shell": _shell}

if __name__ == "__main__":
    sys.exit(main())
