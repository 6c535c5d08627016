"""The Pod Security Standard "restricted", written from its specification.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ lists the controls of
"baseline", all of which are in "restricted", and what that adds. The checks read plain manifests,
and know nothing of how they were made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Manifest = dict[str, Any]

_VOLUME_TYPES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_HANDLERS = ("httpGet", "tcpSocket")


def find_violations(template: Manifest) -> list[str]:
    """Name every control that a pod template breaks; an empty list means it is restricted."""
    pod = template["spec"]
    found = list(_host_access(pod))
    found += _pod_context(pod.get("securityContext", {}))
    found += _app_armor_annotations(template)
    found += _volumes(pod)
    for container in _containers(pod):
        context = container.get("securityContext", {})
        found += _host_of_container(container)
        found += _container_context(context)
        found += _privilege(context)
    found += _inherited(pod)
    return sorted(set(found))


def _containers(pod: Manifest) -> list[Manifest]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in pod.get(kind, [])]


def _host_access(pod: Manifest) -> Iterator[str]:
    yield from (f for f in ("hostNetwork", "hostPID", "hostIPC") if pod.get(f))


def _host_of_container(container: Manifest) -> Iterator[str]:
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    actions = [container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")]
    actions += container.get("lifecycle", {}).values()
    if any(action.get(handler, {}).get("host") for action in actions for handler in _HANDLERS):
        yield "probe host"


def _context(context: Manifest) -> Iterator[str]:
    """Yield what pods and containers may both break."""
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"
    if context.get("appArmorProfile", {"type": "RuntimeDefault"})["type"] == "Unconfined":
        yield "appArmor"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type", "") not in _SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "seLinux"
    if context.get("runAsUser") == 0:
        yield "runAsUser"


def _pod_context(context: Manifest) -> Iterator[str]:
    yield from _context(context)
    if any(sysctl["name"] not in _SAFE_SYSCTLS for sysctl in context.get("sysctls", [])):
        yield "sysctls"


def _container_context(context: Manifest) -> Iterator[str]:
    yield from _context(context)
    if context.get("privileged"):
        yield "privileged"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"


def _app_armor_annotations(template: Manifest) -> Iterator[str]:
    for key, value in template["metadata"].get("annotations", {}).items():
        if key.startswith("container.apparmor.security.beta.kubernetes.io/") and not (
            value in ("", "runtime/default") or value.startswith("localhost/")
        ):
            yield "appArmor"


def _volumes(pod: Manifest) -> Iterator[str]:
    if any(set(volume) - {"name"} - _VOLUME_TYPES for volume in pod.get("volumes", [])):
        yield "volume types"


def _privilege(context: Manifest) -> Iterator[str]:
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities"


def _inherited(pod: Manifest) -> Iterator[str]:
    """Yield what a container may leave to its pod, or set itself."""
    of_pod = pod.get("securityContext", {})
    for container in _containers(pod):
        context = of_pod | container.get("securityContext", {})
        if context.get("runAsNonRoot") is not True:
            yield "runAsNonRoot"
        if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"
    if of_pod.get("seccompProfile", {}).get("type") == "Unconfined":
        yield "seccompProfile"
    if of_pod.get("runAsNonRoot") is False:
        yield "runAsNonRoot"
