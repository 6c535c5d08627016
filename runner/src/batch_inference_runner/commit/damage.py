"""Whether the files that a manifest lists are there, as far as their names and sizes tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_runner.storage.store import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_inference_runner.commit.manifest import Manifest
    from batch_inference_runner.storage.store import Store


def find_damage(store: Store, manifest: Manifest, sizes: Mapping[str, int]) -> str | None:
    """Say what is wrong with the first listed file that is not as it was written, None if none is.

    `sizes` are those of a listing; what it lacks is asked for by name, because listings may lag.
    """
    for file in (*manifest.files, *manifest.rejects):
        if sizes.get(file.path) == file.bytes:
            continue
        try:
            size = store.info(file.path).size
        except NotFound:
            return f"{store.uri + file.path!r} is gone"
        if size != file.bytes:
            return f"{store.uri + file.path!r} has {size} bytes instead of {file.bytes}"
    return None
