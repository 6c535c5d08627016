"""Where things are in a run's pods: folders and files."""

from __future__ import annotations

CONTAINER = "runner"
RUN_FOLDER = "/etc/bij/run"
CONFIG_KEY = "config.json"
TOKEN_KEY = "token"  # noqa: S105 - the name of a file
CONFIG_PATH = f"{RUN_FOLDER}/{CONFIG_KEY}"
TOKEN_PATH = f"{RUN_FOLDER}/{TOKEN_KEY}"
CLAIMS_FOLDER = "/pvc"

LIVENESS_PATH = "/livez"
"""Served by the supervisor of each pod, whatever its child is doing."""

GROUP_ID = 65532
"""The image's own group, which owns the volumes of a pod."""


def credentials_folder(role: str) -> str:
    """Folder of the keys of a role's Secret; beside `RUN_FOLDER`, not below: that is read-only."""
    return f"/etc/bij/credentials/{role}"
