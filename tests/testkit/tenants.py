"""Users who have the rights of a namespace's roles, and none in the rest of the cluster.

They get them as docs/platform/multi-tenancy.md says: a cluster admin applies the chart's roles for
users once, and binds `view`, `edit` or `admin` in a namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.cluster.kubectl import Kubectl, Manifest
from testkit.cluster.namespaces import Namespace
from testkit.deadlines import wait_for
from testkit.helm import CHART, Helm

_NAME = "tenant"
_JOBS = "batchinferencejobs.batchinference.dev"
_AGGREGATED = "rbac.authorization.k8s.io/aggregate-to-"


@contextmanager
def user_roles(helm: Helm, kubectl: Kubectl) -> Iterator[None]:
    """Have the chart's roles for users and no others, as without an operator for all namespaces."""
    roles = helm("template", "roles", str(CHART), "--show-only", "templates/user-roles.yaml")
    others = [role for role in kubectl.list("clusterroles") if _is_for_users(role)]
    for role in others:
        kubectl("delete", "clusterrole", role["metadata"]["name"])
    kubectl("apply", "-f", "-", stdin=roles)
    try:
        yield
    finally:
        kubectl("delete", "-f", "-", stdin=roles)
        kubectl.apply(*(_without_history(role) for role in others))


def make_tenant(namespace: Namespace, folder: Path) -> Path:
    """Create an admin of a namespace; returns a kubeconfig of theirs."""
    kubectl = namespace.kubectl
    kubectl("create", "serviceaccount", _NAME)
    bind(kubectl, role="admin", to=f"--serviceaccount={namespace.name}:{_NAME}")
    wait_until_allowed(kubectl, "patch", f"{_JOBS}/status", user=_user_of(namespace))
    token = kubectl("create", "token", _NAME, "--duration=1h").strip()
    return _write_kubeconfig(folder / "tenant.kubeconfig", kubectl, token)


def bind(kubectl: Kubectl, *, role: str, to: str) -> None:
    """Give one of the cluster's own roles, in the namespace, to whom the flag names."""
    kubectl("create", "rolebinding", f"tests-{role}", f"--clusterrole={role}", to)


def wait_until_allowed(kubectl: Kubectl, verb: str, resource: str, *, user: str) -> None:
    """Wait for the controller that adds rules to `view`, `edit` and `admin`."""
    wait_for(
        lambda: may(kubectl, verb, resource, user=user),
        seconds=30,
        what=f"the right of {user} to {verb} {resource}",
    )


def may(kubectl: Kubectl, verb: str, resource: str, *, user: str) -> bool:
    """Ask the API server what a user may do in the namespace; `resource` may be a subresource."""
    resource, _, part = resource.partition("/")  # kubectl takes what is behind it for a name
    flags = (f"--subresource={part}", f"--as={user}")
    asked = kubectl.attempt("auth", "can-i", verb, resource, *flags)
    return asked.stdout.strip() == "yes"


def _user_of(namespace: Namespace) -> str:
    return f"system:serviceaccount:{namespace.name}:{_NAME}"


def _is_for_users(role: Manifest) -> bool:
    """Whether it adds rights on jobs to one of the cluster's own roles, and is none of these."""
    groups = {group for rule in role.get("rules") or [] for group in rule.get("apiGroups", [])}
    labels = role["metadata"].get("labels", {})
    is_added = any(label.startswith(_AGGREGATED) for label in labels)
    return is_added and "batchinference.dev" in groups and "aggregationRule" not in role


def _without_history(role: Manifest) -> Manifest:
    metadata = {key: role["metadata"][key] for key in ("name", "labels")}
    return {**role, "metadata": metadata}


def _write_kubeconfig(path: Path, kubectl: Kubectl, token: str) -> Path:
    """The same cluster, seen by somebody else."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": _NAME, "user": {"token": token}}]
    config["contexts"][0]["context"] |= {"user": _NAME, "namespace": kubectl.namespace}
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path
