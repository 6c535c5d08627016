"""GPUs that are not there: the scheduler counts them, and a pod that asks for one gets nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from testkit.cluster.kubectl import Kubectl

_GPU = "nvidia.com~1gpu"  # a slash in a JSON pointer


@contextmanager
def pretended_gpus(kubectl: Kubectl, node: str, amount: int) -> Iterator[None]:
    """Let a node say that it has GPUs, as a device plugin would."""
    fields = ("capacity", "allocatable")
    _patch(
        kubectl,
        node,
        [
            {"op": "add", "path": f"/status/{field}/{_GPU}", "value": str(amount)}
            for field in fields
        ],
    )
    try:
        yield
    finally:
        _patch(
            kubectl, node, [{"op": "remove", "path": f"/status/{field}/{_GPU}"} for field in fields]
        )


def _patch(kubectl: Kubectl, node: str, operations: list[dict[str, str]]) -> None:
    patch = json.dumps(operations)
    kubectl("patch", "node", node, "--subresource=status", "--type=json", f"--patch={patch}")
