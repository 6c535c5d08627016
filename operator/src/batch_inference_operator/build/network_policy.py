"""Who may connect to a run's pods: each other, the operator, and whoever collects metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_api.pod_contract import HTTP_PORT
from batch_inference_operator.names import (
    NAMESPACE_NAME_LABEL,
    OPERATOR_NAME,
    OPERATOR_NAME_LABEL,
    run_selector,
)

if TYPE_CHECKING:
    from batch_inference_operator.settings import Settings


def build_network_policy(
    metadata: dict[str, Any], *, uid: str, number: int, settings: Settings
) -> dict[str, Any]:
    """Ray runs the code of whoever reaches it, so its ports are for the run's own pods only.

    Connections outwards stay open: where models and datasets lie is the users' business. Probes
    come from the pod's own node, which no policy shuts out.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": run_selector(uid, number)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": run_selector(uid, number)}}]},
                {
                    "from": [_operator(settings.namespace), *_monitoring(settings)],
                    "ports": [{"protocol": "TCP", "port": HTTP_PORT}],
                },
            ],
        },
    }


def _operator(namespace: str) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: namespace}},
        "podSelector": {"matchLabels": {OPERATOR_NAME_LABEL: OPERATOR_NAME}},
    }


def _monitoring(settings: Settings) -> list[dict[str, Any]]:
    return [
        {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: namespace}}}
        for namespace in settings.monitoring_namespaces
    ]
