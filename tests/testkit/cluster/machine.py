"""What this machine must be for the local cluster to run on it."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

_PROGRAMS = ("ip", "nsenter", "runc", "nft", "conntrack", "busybox")
_PLUGINS = Path("/usr/lib/cni")


class ClusterUnavailable(Exception):
    """There can be no cluster here; the message says what is missing."""


def check_machine() -> None:
    """Refuse to go on where the cluster cannot run, naming everything that is missing."""
    missing = []
    if platform.system() != "Linux":
        missing.append("Linux")
    elif os.geteuid() != 0:
        missing.append("root, for network namespaces and control groups")
    missing += [f"the program {name}" for name in _PROGRAMS if shutil.which(name) is None]
    if not (_PLUGINS / "ptp").exists():
        missing.append(f"the CNI plugins in {_PLUGINS}")
    if missing:
        raise ClusterUnavailable(
            f"the local cluster needs {', '.join(missing)}. On Debian, as root: "
            "tests/tools/install_cluster_packages"
        )
