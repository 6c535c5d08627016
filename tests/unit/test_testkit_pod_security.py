"""The checker of Pod Security "restricted" finds what breaks it: its silence means something."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testkit.pod_security import find_violations

_RESTRICTED: dict[str, Any] = {
    "metadata": {},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "a",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
    },
}

_POD = ("spec", "securityContext")
_CONTAINER = ("spec", "containers", 0)
_CONTEXT = (*_CONTAINER, "securityContext")


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    template = copy.deepcopy(_RESTRICTED)
    *parents, last = path
    node: Any = template
    for part in parents:
        node = node[part] if isinstance(part, int) else node.setdefault(part, {})
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return template


def test_a_restricted_pod_breaks_nothing() -> None:
    assert find_violations(_RESTRICTED) == []


@pytest.mark.parametrize(
    ("path", "value", "violation"),
    [
        (("spec", "hostNetwork"), True, "hostNetwork"),
        (("spec", "hostPID"), True, "hostPID"),
        (("spec", "hostIPC"), True, "hostIPC"),
        (("spec", "volumes"), [{"name": "v", "hostPath": {"path": "/"}}], "volume types"),
        (("spec", "volumes"), [{"name": "v", "nfs": {}}], "volume types"),
        ((*_POD, "windowsOptions"), {"hostProcess": True}, "hostProcess"),
        ((*_POD, "sysctls"), [{"name": "kernel.msgmax", "value": "1"}], "sysctls"),
        ((*_POD, "runAsUser"), 0, "runAsUser"),
        ((*_POD, "runAsNonRoot"), ..., "runAsNonRoot"),
        ((*_POD, "runAsNonRoot"), False, "runAsNonRoot"),
        ((*_POD, "seccompProfile"), ..., "seccompProfile"),
        ((*_POD, "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
        ((*_POD, "appArmorProfile"), {"type": "Unconfined"}, "appArmor"),
        ((*_POD, "seLinuxOptions"), {"type": "spc_t"}, "seLinux"),
        ((*_POD, "seLinuxOptions"), {"user": "system_u"}, "seLinux"),
        ((*_CONTAINER, "ports"), [{"containerPort": 1, "hostPort": 1}], "hostPort"),
        ((*_CONTAINER, "livenessProbe"), {"httpGet": {"host": "10.0.0.1"}}, "probe host"),
        ((*_CONTAINER, "lifecycle"), {"preStop": {"tcpSocket": {"host": "a"}}}, "probe host"),
        ((*_CONTEXT, "privileged"), True, "privileged"),
        ((*_CONTEXT, "procMount"), "Unmasked", "procMount"),
        ((*_CONTEXT, "runAsUser"), 0, "runAsUser"),
        ((*_CONTEXT, "runAsNonRoot"), False, "runAsNonRoot"),
        ((*_CONTEXT, "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
        ((*_CONTEXT, "allowPrivilegeEscalation"), ..., "allowPrivilegeEscalation"),
        ((*_CONTEXT, "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
        ((*_CONTEXT, "capabilities"), ..., "capabilities"),
        ((*_CONTEXT, "capabilities"), {"drop": ["ALL"], "add": ["CHOWN"]}, "capabilities"),
        (
            ("metadata", "annotations"),
            {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"},
            "appArmor",
        ),
        (("spec", "initContainers"), [{"name": "b"}], "allowPrivilegeEscalation"),
        (("spec", "ephemeralContainers"), [{"name": "b"}], "allowPrivilegeEscalation"),
    ],
    ids=lambda value: None if not isinstance(value, tuple) else ".".join(map(str, value)),
)
def test_each_control_is_noticed(path: tuple[str | int, ...], value: Any, violation: str) -> None:
    assert violation in find_violations(changed(path, value))
