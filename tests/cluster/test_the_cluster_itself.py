"""The cluster under the other tests is a real one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import obstore
import pytest
import yaml
from obstore.store import S3Store

from testkit.checkout import ROOT
from testkit.cluster import local
from testkit.cluster.api_server import RequestFailed
from testkit.cluster.local import LocalCluster
from testkit.cluster.namespaces import Namespace
from testkit.cluster.node import Node
from testkit.cluster.pods import busybox_pod, web_server
from testkit.cluster.provider import Cluster
from testkit.deadlines import wait_for

CRD = ROOT / "crds" / "batchinference.dev_batchinferencejobs.yaml"
EXAMPLES = sorted(ROOT.glob("examples/*/job.yaml"))
SECONDS = 60
MOUNTS = Path("/proc/self/mounts")


def run_to_the_end(namespace: Namespace, pod: dict) -> str:
    """Run a pod and return what it printed."""
    name = pod["metadata"]["name"]
    namespace.kubectl.apply(pod)

    def ended() -> str | None:
        phase = namespace.kubectl.get("pod", name)["status"]["phase"]
        return phase if phase in {"Succeeded", "Failed"} else None

    phase = wait_for(ended, seconds=SECONDS, every_seconds=0.5, what=f"the end of pod {name}")
    printed = namespace.kubectl("logs", name)
    assert phase == "Succeeded", printed
    return printed


@pytest.fixture(scope="module")
def crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    name = "crd/batchinferencejobs.batchinference.dev"
    cluster.kubectl.wait_until_established(name)


def test_a_restricted_pod_runs_and_its_log_and_exec_work(namespace: Namespace) -> None:
    namespace.kubectl.apply(busybox_pod("greeter", "echo hello; sleep 600"))
    namespace.kubectl.wait("pod", "greeter", until="condition=Ready", seconds=SECONDS)
    assert namespace.kubectl("logs", "greeter") == "hello\n"
    assert namespace.kubectl("exec", "greeter", "--", "id", "-u") == "65532\n"


def test_a_pod_that_is_not_restricted_is_refused(namespace: Namespace) -> None:
    pod = busybox_pod("root", "true")
    del pod["spec"]["securityContext"]
    with pytest.raises(RequestFailed, match='violates PodSecurity "restricted'):
        namespace.kubectl.apply(pod)


def test_a_pod_finds_a_service_by_name(namespace: Namespace) -> None:
    namespace.kubectl.apply(*web_server("web", "found"))
    namespace.kubectl.wait("pod", "web", until="condition=Ready", seconds=SECONDS)
    script = f"until timeout 2 wget -q -O - http://web.{namespace.name}.svc; do sleep 0.2; done"
    assert run_to_the_end(namespace, busybox_pod("reader", script)) == "found\n"


def test_pods_on_two_nodes_reach_each_other(namespace: Namespace, second_node: Node) -> None:
    namespace.kubectl.apply(*web_server("near", "near", node="node-1"))
    namespace.kubectl.apply(*web_server("far", "far", node=second_node.name))
    for name in ("near", "far"):
        namespace.kubectl.wait("pod", name, until="condition=Ready", seconds=SECONDS)
    fetch = "until timeout 2 wget -q -O - http://{}; do sleep 0.2; done"
    to_far = busybox_pod("to-far", fetch.format("far"), node="node-1")
    to_near = busybox_pod("to-near", fetch.format("near"), node=second_node.name)
    assert run_to_the_end(namespace, to_far) == "far\n"
    assert run_to_the_end(namespace, to_near) == "near\n"


def test_a_pod_reads_from_object_storage(namespace: Namespace) -> None:
    storage = namespace.cluster.object_storage
    store = S3Store(
        storage.bucket,
        prefix=namespace.name,
        endpoint=storage.endpoint,
        access_key_id=storage.access_key,
        secret_access_key=storage.secret_key,
        region=storage.region,
        client_options={"allow_http": True},
    )
    obstore.put(store, "greeting", b"from the bucket")
    address = obstore.sign(store, "GET", "greeting", timedelta(minutes=5))
    reader = busybox_pod("reader", f"wget -q -O - '{address}'")
    assert run_to_the_end(namespace, reader) == "from the bucket"


def test_a_pod_writes_into_a_volume(namespace: Namespace) -> None:
    folder = namespace.create_volume("output")
    writer = busybox_pod("writer", "echo written > /output/file; cat /output/file")
    writer["spec"]["volumes"] = [
        {"name": "output", "persistentVolumeClaim": {"claimName": "output"}}
    ]
    writer["spec"]["containers"][0]["volumeMounts"] = [{"name": "output", "mountPath": "/output"}]
    assert run_to_the_end(namespace, writer) == "written\n"
    assert folder is None or (folder / "file").read_text() == "written\n"


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize("manifest", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_api_server_accepts_an_example(namespace: Namespace, manifest) -> None:
    job = yaml.safe_load(manifest.read_text())
    put_on_a_volume(job["spec"])
    namespace.kubectl.apply(job, dry_run=True)


def test_what_a_crashed_cluster_has_left_is_removed(local_cluster: LocalCluster) -> None:
    crashed = local.start("crash")
    try:
        crashed.kubectl.apply(busybox_pod("busy", "while true; do sleep 0.1; done"))
        crashed.kubectl.wait("pod", "busy", until="condition=Ready", seconds=SECONDS)
        for name in ("kube-apiserver", "node-1/containerd", "node-1/kubelet"):
            crashed.component(name).kill()
        again = local.start("crash")
        assert again.kubectl.list("pods") == []
    finally:
        local.remove("crash")
    assert not [mount for mount in MOUNTS.read_text().splitlines() if "bij-cluster-crash" in mount]
    assert "bij-crash" not in [path.name for path in Path("/run/netns").iterdir()]
    assert local_cluster.kubectl.api_server_is_ready(), "it is another cluster's"


def put_on_a_volume(spec: dict) -> None:
    """Paths are for `bij run`; on a cluster the same files lie on a volume."""

    def moved(uri: str) -> str:
        return uri if "://" in uri else f"pvc://scoring/{uri}"

    spec["input"]["storageUris"] = [moved(uri) for uri in spec["input"]["storageUris"]]
    for part in ("model", "output"):
        spec[part]["storageUri"] = moved(spec[part]["storageUri"])
