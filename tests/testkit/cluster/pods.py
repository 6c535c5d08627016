"""Small pods that look at the cluster from the inside."""

from __future__ import annotations

from testkit.cluster.busybox_image import BUSYBOX
from testkit.cluster.kubectl import Manifest


def busybox_pod(
    name: str, script: str, *, node: str | None = None, labels: dict[str, str] | None = None
) -> Manifest:
    """Return a pod that runs a script of busybox's shell once, under Pod Security `restricted`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "nodeSelector": {"kubernetes.io/hostname": node} if node else {},
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "busybox",
                    "image": BUSYBOX,
                    "command": ["sh", "-ec", script],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def web_server(name: str, answer: str, *, node: str | None = None) -> tuple[Manifest, Manifest]:
    """Return a pod that answers HTTP on port 8080, and a Service of the same name before it."""
    serve = f"mkdir /tmp/www && echo {answer} > /tmp/www/index.html && httpd -f -p 8080 -h /tmp/www"
    pod = busybox_pod(name, serve, node=node, labels={"app": name})
    container = pod["spec"]["containers"][0]
    container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    pod["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    return pod, service
