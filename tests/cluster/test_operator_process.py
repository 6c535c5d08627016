"""The operator as a process: who works when there are two, and how it ends.

Each test watches its own namespace only, with its Lease there, beside whatever else is installed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testkit.checkout import ROOT
from testkit.cluster.namespaces import Namespace
from testkit.cluster.provider import Cluster
from testkit.deadlines import wait_for

CRD = ROOT / "crds" / "batchinference.dev_batchinferencejobs.yaml"
SECONDS = 60


class Process:
    """An operator that watches one namespace."""

    def __init__(self, namespace: Namespace, log: Path) -> None:
        self._log = log
        environment = {name: value for name, value in os.environ.items() if "BIO_" not in name}
        command = [sys.executable, "-m", "batch_inference_operator", "--health-port=0"]
        flags = [f"--namespace={namespace.name}", f"--watch-namespaces={namespace.name}"]
        with log.open("w", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                [*command, *flags],
                stderr=stderr,
                env={**environment, "KUBECONFIG": str(namespace.cluster.kubeconfig)},
            )

    def wait_until(self, message: str, seconds: float = SECONDS) -> float:
        """Wait until it logs this; returns for how long that took."""
        began = time.monotonic()
        wait_for(lambda: message in self.messages(), seconds=seconds, what=f"the log {message!r}")
        return time.monotonic() - began

    def messages(self) -> list[str]:
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["message"] for line in lines if line.endswith("}")]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture(scope="module", autouse=True)
def _crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    name = "crd/batchinferencejobs.batchinference.dev"
    cluster.kubectl("wait", name, "--for=condition=Established", f"--timeout={SECONDS}s")


@pytest.fixture
def start(namespace: Namespace, tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Starts operators, and ends those that are left."""
    started: list[Process] = []

    def start_one() -> Process:
        started.append(Process(namespace, tmp_path / f"operator-{len(started)}.log"))
        return started[-1]

    yield start_one
    for one in started:
        one.process.kill()
        one.process.wait(10)


def suspended_job(name: str, **annotations: str) -> dict[str, Any]:
    """A job of which only the status changes."""
    return {
        "apiVersion": "batchinference.dev/v1alpha1",
        "kind": "BatchInferenceJob",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "model": {"storageUri": "s3://bucket/model.onnx"},
            "input": {"storageUris": ["s3://bucket/in/"], "format": "Parquet"},
            "output": {"storageUri": f"s3://bucket/{name}/"},
            "suspend": True,
        },
    }


def wait_until_seen(namespace: Namespace, job: str) -> None:
    wait_for(
        lambda: (
            (namespace.kubectl.find("bij", job) or {}).get("status", {}).get("phase") == "Suspended"
        ),
        seconds=SECONDS,
        what=f"the status of {job}",
    )


def test_one_that_is_told_to_end_hands_over_at_once(
    namespace: Namespace, start: Callable[[], Process]
) -> None:
    first = start()
    first.wait_until("leading")
    second = start()
    second.wait_until("standing by")
    namespace.kubectl.apply(suspended_job("before"))
    wait_until_seen(namespace, "before")
    assert first.end() == 0
    assert second.wait_until("leading", seconds=10) < 10
    namespace.kubectl.apply(suspended_job("after"))
    wait_until_seen(namespace, "after")
    assert second.end() == 0


def test_one_that_was_stopped_for_too_long_ends_instead_of_going_on(
    start: Callable[[], Process],
) -> None:
    first = start()
    first.wait_until("leading")
    second = start()
    second.wait_until("standing by")
    first.process.send_signal(signal.SIGSTOP)
    assert second.wait_until("leading") > 5, "the Lease is left to its holder for its duration"
    assert first.end(signal.SIGCONT) == 1


def test_an_annotation_that_kopf_would_choke_on_stops_nobody(
    namespace: Namespace, start: Callable[[], Process]
) -> None:
    start().wait_until("leading")
    forged = {"kopf.zalando.org/last-handled-configuration": "{not json"}
    namespace.kubectl.apply(suspended_job("forged", **forged))
    namespace.kubectl.apply(suspended_job("honest"))
    wait_until_seen(namespace, "forged")
    wait_until_seen(namespace, "honest")
    metadata = namespace.kubectl.find("bij", "honest")["metadata"]
    assert "finalizers" not in metadata
    assert not any("kopf" in name for name in metadata.get("annotations", {}))
