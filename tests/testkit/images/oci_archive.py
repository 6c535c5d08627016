"""An image as one OCI archive, with uncompressed layers: for an import two rooms away.

`buildah push oci-archive:` compresses all layers each time, half a minute for each change of ours.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def write_oci_archive(exported: Path, archive: Path, *, name: str) -> None:
    """Pack what `Buildah.export` wrote; `name` is the image's name in the archive."""
    manifest = (exported / "manifest.json").read_bytes()
    described = {
        "mediaType": _MANIFEST,
        "digest": f"sha256:{_sha256(manifest)}",
        "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    document = json.loads(manifest)
    blobs = [document["config"], *document["layers"]]
    unfinished = archive.with_suffix(".unfinished")
    with tarfile.open(unfinished, "w") as tar:
        _add(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [described]}).encode())
        _add(tar, f"blobs/sha256/{_sha256(manifest)}", manifest)
        for digest in {blob["digest"].removeprefix("sha256:") for blob in blobs}:
            tar.add(exported / digest, f"blobs/sha256/{digest}")
    unfinished.rename(archive)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
