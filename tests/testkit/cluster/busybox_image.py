"""A container image of 2 MB for tests, written by hand around Debian's static busybox.

It has two names: pods sleep in it as `PAUSE`, and tests run its shell as `BUSYBOX`.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = "test.local/busybox:1"
PAUSE = "test.local/pause:1"
_PROGRAM = Path("/bin/busybox")
_ACCOUNTS = "root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/bin/sh\n"


def write_busybox_image(archive: Path) -> Path:
    """Write an OCI archive; the same busybox gives the same digest each time."""
    layer = _layer()
    layer_digest = _digest(layer)
    config = _json(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Cmd": ["sleep", "2147483647"], "Env": ["PATH=/bin"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        }
    )
    media = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{media}.manifest.v1+json",
            "config": _described(f"{media}.config.v1+json", config),
            "layers": [_described(f"{media}.layer.v1.tar", layer)],
        }
    )
    index = {"schemaVersion": 2, "manifests": [_described(f"{media}.manifest.v1+json", manifest)]}
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json(index))
        for blob in (layer, config, manifest):
            _add(tar, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)
    return archive


def _layer() -> bytes:
    names = subprocess.run(
        [str(_PROGRAM), "--list"], check=True, capture_output=True, text=True
    ).stdout.split()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        _add(tar, "bin/busybox", _PROGRAM.read_bytes(), mode=0o755)
        for name in sorted(set(names) - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        _add(tar, "etc/passwd", _ACCOUNTS.encode())
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(temporary)
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _described(media_type: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _architecture() -> str:
    machine = subprocess.run(["uname", "-m"], check=True, capture_output=True, text=True).stdout
    return {"x86_64": "amd64", "aarch64": "arm64"}[machine.strip()]
