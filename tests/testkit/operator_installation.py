"""The operator as users install it: its image, its manifests, and what can be done to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from testkit.checkout import ROOT
from testkit.cluster.kubectl import Kubectl
from testkit.cluster.provider import Cluster
from testkit.deadlines import wait_for
from testkit.images import OPERATOR, RUNNER, built_image
from testkit.pod_processes import pod_processes
from testkit.processes import kill

NAMESPACE = "batch-inference"
DEPLOYMENT = "batch-inference-operator"
_SELECTOR = f"app.kubernetes.io/name={DEPLOYMENT}"
SETTINGS = {
    # Sooner than by default, so that tests need not wait for what they provoke.
    "BIO_FENCE_SECONDS": "20",
    "BIO_RESYNC_SECONDS": "60",
    "BIO_ALLOWED_IMAGES": "allowed.example/*",
}


@dataclass(frozen=True)
class Operator:
    """An installed operator."""

    kubectl: Kubectl
    """In the operator's own namespace."""
    runner_image: str

    def pods(self) -> list[dict]:
        return self.kubectl.list("pods", labels=_SELECTOR)

    def logs(self) -> str:
        return logs_of_operator(self.kubectl)

    def kill(self) -> int:
        """SIGKILL its containers, as the kernel would; say how many processes that were.

        The kubelet starts them again.
        """
        return sum(kill(process) for pod in self.pods() for process in pod_processes(pod))

    def restarts(self) -> int:
        """How often the kubelet has started a container again."""
        statuses = [pod["status"].get("containerStatuses", []) for pod in self.pods()]
        return sum(status["restartCount"] for found in statuses for status in found)

    def wait_until_ready(self) -> None:
        self.kubectl("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=90s", seconds=100)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Have no operator for a while."""
        self._scale(0)
        try:
            yield
        finally:
            self._scale(1)

    @contextmanager
    def changed(self, *, replicas: int = 1, **settings: str) -> Iterator[None]:
        """Have it run with other settings for a while, in several replicas."""
        self.change_settings(settings)
        self._scale(replicas)
        try:
            yield
        finally:
            self._scale(1)
            self.change_settings(dict.fromkeys(settings))

    def change_settings(self, settings: Mapping[str, str | None]) -> None:
        """Set environment variables of the operator, or take those away that are None."""
        pairs = [k + ("-" if value is None else f"={value}") for k, value in settings.items()]
        self.kubectl("set", "env", f"deployment/{DEPLOYMENT}", *pairs)
        self.wait_until_ready()

    def up_or_down(self, is_up: bool) -> AbstractContextManager[None]:
        return nullcontext() if is_up else self.down()

    def _scale(self, replicas: int) -> None:
        self.kubectl("scale", f"deployment/{DEPLOYMENT}", f"--replicas={replicas}")
        if replicas:
            self.wait_until_ready()
        else:
            wait_for(lambda: not self.pods(), seconds=60, what="the end of the operator")


def logs_of_operator(kubectl: Kubectl) -> str:
    """What all of its replicas have logged; `kubectl` may be of any namespace."""
    return kubectl.within(NAMESPACE)("logs", f"--selector={_SELECTOR}", "--tail=-1")


def install(cluster: Cluster) -> Operator:
    """Install it as users do, and have it hurry."""
    operator = apply_manifests(cluster)
    operator.change_settings(SETTINGS)
    return operator


def installed_runner(kubectl: Kubectl) -> str:
    """The image that an installed operator gives to jobs; empty while none is installed."""
    deployment = kubectl.within(NAMESPACE).find("deployment", DEPLOYMENT)
    if deployment is None:
        return ""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return next(each["value"] for each in container["env"] if each["name"] == "BIO_RUNNER_IMAGE")


def apply_manifests(cluster: Cluster) -> Operator:
    """Build the images, give them to the cluster, and apply the manifests that users apply."""
    operator_image, runner_image = built_image(OPERATOR), built_image(RUNNER)
    for image in (operator_image, runner_image):
        cluster.load_image(image.archive, image.name)
    manifests = subprocess.run(
        [
            sys.executable, str(ROOT / "operator" / "manifests" / "render.py"),
            "--operator-image", operator_image.name, "--runner-image", runner_image.name,
        ],
        env={**os.environ, "PATH": cluster.search_path},
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)
    return Operator(cluster.kubectl.within(NAMESPACE), runner_image.name)
