"""What pods have mounted below a folder, and undoing it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def unmount_below(folder: Path) -> None:
    """Undo every mount below a folder, innermost first."""
    for target in reversed(_mounts_below(folder)):
        subprocess.run(["umount", "--lazy", target], check=True)


def _mounts_below(folder: Path) -> list[str]:
    mounted = Path("/proc/self/mounts").read_text().splitlines()
    targets = [line.split()[1].encode().decode("unicode_escape") for line in mounted]
    return [target for target in targets if Path(target).is_relative_to(folder)]
