"""Somebody who has the rights of a namespace's admin, and none in the rest of the cluster."""

from __future__ import annotations

import json
from pathlib import Path

from testkit.cluster.kubectl import Kubectl
from testkit.cluster.namespaces import Namespace

_NAME = "tenant"
_JOBS = "batchinferencejobs"
_JOB_RIGHTS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "batch-inference-admin"},
    "rules": [
        {"apiGroups": ["batchinference.dev"], "resources": resources, "verbs": verbs}
        for resources, verbs in (
            ([_JOBS], ["get", "list", "watch", "create", "update", "patch", "delete"]),
            ([f"{_JOBS}/status"], ["get", "update", "patch"]),
        )
    ],
}
"""What the chart's cluster-wide install adds to `admin`, where there is no such install."""


def make_tenant(namespace: Namespace, folder: Path) -> Path:
    """Create an admin of a namespace; returns a kubeconfig of theirs."""
    kubectl = namespace.kubectl
    kubectl("create", "serviceaccount", _NAME)
    kubectl.apply(
        _JOB_RIGHTS,
        _binding(kind="ClusterRole", role="admin", namespace=namespace.name),
        _binding(kind="Role", role="batch-inference-admin", namespace=namespace.name),
    )
    token = kubectl("create", "token", _NAME, "--duration=1h").strip()
    return _write_kubeconfig(folder / "tenant.kubeconfig", kubectl, token)


def _binding(*, kind: str, role: str, namespace: str) -> dict[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"tenant-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": _NAME, "namespace": namespace}],
    }


def _write_kubeconfig(path: Path, kubectl: Kubectl, token: str) -> Path:
    """The same cluster, seen by somebody else."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": _NAME, "user": {"token": token}}]
    config["contexts"][0]["context"] |= {"user": _NAME, "namespace": kubectl.namespace}
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path
