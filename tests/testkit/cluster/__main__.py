"""The cluster for people: `make cluster`, `cluster-install`, `cluster-shell`, `cluster-down`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from testkit.cluster import local
from testkit.cluster.binaries import BuildFailed, built_tools
from testkit.cluster.machine import ClusterUnavailable
from testkit.images import ImagesUnavailable
from testkit.operator_installation import apply_manifests, installed_runner


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testkit.cluster", description=__doc__)
    parser.add_argument("command", choices=tuple(_COMMANDS))
    parser.add_argument("--name", default=local.default_name())
    chosen = parser.parse_args()
    try:
        return _COMMANDS[chosen.command](chosen.name)
    except (BuildFailed, ClusterUnavailable, ImagesUnavailable) as error:
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
    print("The operator is not in it yet: make cluster-install")
    return 0


def _install(name: str) -> int:
    """Build both images, give them to the cluster, install the operator; offer a volume, too."""
    cluster = local.find(name)
    if cluster is None:
        return _no_cluster()
    apply_manifests(cluster).wait_until_ready()
    cluster.offer_volume()
    print("Installed: jobs of every namespace are run. The next claim for a volume will find one.")
    return 0


def _down(name: str) -> int:
    print("Removed." if local.remove(name) else "No cluster was running.")
    return 0


def _shell(name: str) -> int:
    cluster = local.find(name)
    if cluster is None:
        return _no_cluster()
    own_programs = str(Path(sys.executable).parent)  # bij, and the plugin of kubectl
    environment = {
        **cluster.kubectl.environment(),
        "PATH": f"{own_programs}{os.pathsep}{cluster.tools.search_path}",
        "RUNNER_IMAGE": installed_runner(cluster.kubectl),
    }
    shell = os.environ.get("SHELL", "/bin/sh")
    print(f"kubectl and helm in this shell talk to the cluster {name!r}; `exit` leaves it running.")
    return subprocess.run([shell], env=environment, check=False).returncode


def _no_cluster() -> int:
    print("No cluster is running: make cluster", file=sys.stderr)
    return 1


_COMMANDS = {
    "build": _build,
    "up": _up,
    "install": _install,
    "shell": _shell,
    "down": _down,
}

if __name__ == "__main__":
    sys.exit(main())
