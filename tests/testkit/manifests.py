"""BatchInferenceJob manifests as plain dicts, valid unless told otherwise."""

from __future__ import annotations

import copy
from typing import Any

_SMALLEST = {
    "apiVersion": "batchinference.dev/v1alpha1",
    "kind": "BatchInferenceJob",
    "metadata": {"name": "churn"},
    "spec": {
        "model": {"storageUri": "model.onnx"},
        "input": {"storageUris": ["data/"], "format": "Parquet"},
        "output": {"storageUri": "scores/"},
    },
}


def make_manifest(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make the smallest valid manifest, with `changes` by dotted path (`spec.output.mode`) applied.

    A value of `...` removes the field. Parts that are digits index a list.
    """
    manifest: dict[str, Any] = copy.deepcopy(_SMALLEST)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        node = manifest
        for part in parents:
            node = node.setdefault(part, {})
        if value is ...:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return manifest
