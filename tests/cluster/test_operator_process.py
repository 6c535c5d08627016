"""The operator as a process: who works when there are two, and how it ends.

Each test watches its own namespace only, with its Lease there, beside whatever else is installed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testkit.checkout import ROOT
from testkit.cluster.namespaces import Namespace
from testkit.cluster.provider import Cluster
from testkit.deadlines import wait_for
from testkit.operator_process import OperatorProcess

CRD = ROOT / "crds" / "batchinference.dev_batchinferencejobs.yaml"
SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def _crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    name = "crd/batchinferencejobs.batchinference.dev"
    cluster.kubectl.wait_until_established(name)


@pytest.fixture
def start(namespace: Namespace, tmp_path: Path) -> Iterator[Callable[[], OperatorProcess]]:
    """Starts operators, and ends those that are left."""
    started: list[OperatorProcess] = []

    def start_one() -> OperatorProcess:
        log = tmp_path / f"operator-{len(started)}.log"
        started.append(OperatorProcess(namespace.cluster.kubeconfig, namespace.name, log))
        return started[-1]

    yield start_one
    for one in started:
        one.kill()


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
    namespace: Namespace, start: Callable[[], OperatorProcess]
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
    start: Callable[[], OperatorProcess],
) -> None:
    first = start()
    first.wait_until("leading")
    second = start()
    second.wait_until("standing by")
    first.process.send_signal(signal.SIGSTOP)
    assert second.wait_until("leading") > 5, "the Lease is left to its holder for its duration"
    assert first.end(signal.SIGCONT) == 1


def test_an_annotation_that_kopf_would_choke_on_stops_nobody(
    namespace: Namespace, start: Callable[[], OperatorProcess]
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
