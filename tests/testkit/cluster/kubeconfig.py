"""Kubeconfig files: who one is, and where the API server is."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from testkit.cluster.certificates import Identity


def write_kubeconfig(path: Path, *, server: str, authority: Path, identity: Identity) -> Path:
    """Write a kubeconfig that holds its certificates, so that it can be copied anywhere."""
    name = path.stem
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority-data": _encoded(authority)},
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _encoded(identity.certificate),
                    "client-key-data": _encoded(identity.key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2))
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
