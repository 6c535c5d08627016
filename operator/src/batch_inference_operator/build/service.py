"""The Service through which a run's pods find index 0."""

from __future__ import annotations

from typing import Any

from batch_inference_api.pod_contract import HTTP_PORT
from batch_inference_operator.names import COMPLETION_INDEX_LABEL, run_selector


def build_service(metadata: dict[str, Any], *, uid: str, number: int) -> dict[str, Any]:
    """An address of its own, which stays when the pod behind it is replaced.

    A headless Service would not do: resolvers remember the lost pod's address. The pod is there
    before it is ready, because it has no other readiness than answering.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": run_selector(uid, number) | {COMPLETION_INDEX_LABEL: "0"},
            "ports": [
                {"name": "http", "port": HTTP_PORT, "targetPort": HTTP_PORT, "protocol": "TCP"}
            ],
        },
    }
