"""The operator's client against a real API server: what is refused, what is never overwritten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from kubernetes.aio.client.api_client import ApiClient

from batch_inference_operator.cluster.api import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unreachable,
)
from batch_inference_operator.cluster.connection import load_configuration
from batch_inference_operator.cluster.kubernetes_client import KubernetesCluster, connect
from batch_inference_operator.leadership import LeadershipLost, LeaseElection, LeaseTiming
from batch_inference_operator.names import APPLIED_WORKERS_ANNOTATION
from testkit.checkout import ROOT
from testkit.cluster.namespaces import Namespace
from testkit.cluster.provider import Cluster
from testkit.deadlines import wait_for

CRD = ROOT / "crds" / "batchinference.dev_batchinferencejobs.yaml"
ResultT = TypeVar("ResultT")
Use = Callable[[KubernetesCluster], Awaitable[ResultT]]
STATUS = {
    "observedGeneration": 1,
    "phase": "Running",
    "progress": {"rowsProcessed": 12, "rowsTotal": 100},
}


@pytest.fixture(scope="module", autouse=True)
def _crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    name = "crd/batchinferencejobs.batchinference.dev"
    cluster.kubectl.wait_until_established(name)


@pytest.fixture(autouse=True)
def _kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


def with_client(use: Use[ResultT], **settings: Any) -> ResultT:
    """Run calls against the cluster of KUBECONFIG."""

    async def run() -> ResultT:
        async with ApiClient(await load_configuration()) as client:
            return await use(KubernetesCluster(client, **settings))

    return asyncio.run(run())


def make_run_job(namespace: str, name: str = "run", workers: int = 2) -> dict[str, Any]:
    """A batch/v1 Job that makes no pods: a queue holds it back."""
    container = {"name": "runner", "image": "none", "resources": {}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": {"test": "yes"}},
        "spec": {
            "suspend": True,
            "completionMode": "Indexed",
            "parallelism": workers,
            "completions": workers,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def make_job(namespace: str, name: str = "churn") -> dict[str, Any]:
    return {
        "apiVersion": "batchinference.dev/v1alpha1",
        "kind": "BatchInferenceJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"storageUri": "s3://bucket/model.onnx"},
            "input": {"storageUris": ["s3://bucket/in/"], "format": "Parquet"},
            "output": {"storageUri": "s3://bucket/out/"},
        },
    }


def test_a_name_that_is_taken(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        created = await client.create(make_run_job(namespace.name))
        assert created["metadata"]["uid"]
        with pytest.raises(AlreadyExists):
            await client.create(make_run_job(namespace.name))

    with_client(use)


def test_an_object_that_is_not_there(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        with pytest.raises(NotFound):
            await client.get("Job", "run", namespace=namespace.name)
        with pytest.raises(NotFound):
            await client.delete_job("run", namespace=namespace.name, uid="x")
        with pytest.raises(NotFound):
            await client.replace_status(
                "churn", namespace=namespace.name, resource_version="1", status=STATUS
            )

    with_client(use)


def test_an_object_that_breaks_the_schema(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        with pytest.raises(Invalid, match=r"spec\.parallelism"):
            await client.create(make_run_job(namespace.name, workers=-1))

    with_client(use)


def test_a_quota_that_is_exceeded_says_so(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "none", "--hard=count/jobs.batch=0")
    wait_for(
        lambda: namespace.kubectl("get", "quota", "none", "-o", "jsonpath={.status.hard}"),
        seconds=60,
        what="the quota to be in force",
    )

    async def use(client: KubernetesCluster) -> None:
        with pytest.raises(Forbidden, match="exceeded quota: none"):
            await client.create(make_run_job(namespace.name))

    with_client(use)


def test_a_namespace_that_is_not_there(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        with pytest.raises(NotFound, match="namespaces"):
            await client.create(make_run_job(f"{namespace.name}-not"))

    with_client(use)


def test_all_pages_of_a_list(namespace: Namespace) -> None:
    names = {f"run-{number}" for number in range(7)}
    calls = []

    async def use(client: KubernetesCluster) -> tuple[dict[str, Any], ...]:
        for name in names:
            await client.create(make_run_job(namespace.name, name))
        return await client.list("Job", namespace=namespace.name, labels="test=yes")

    found = with_client(use, page_size=3, count_call=lambda *call: calls.append(call))
    assert {item["metadata"]["name"] for item in found} == names
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("batch/v1", "Job")}
    assert calls.count(("list", "jobs", "200")) == 3
    assert calls.count(("create", "jobs", "201")) == 7


def test_lists_are_filtered_by_the_server(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> list[int]:
        job = await client.create(make_run_job(namespace.name))
        uid = job["metadata"]["uid"]
        for number, about in enumerate((uid, "another")):
            await client.create(
                {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "metadata": {"name": f"event-{number}", "namespace": namespace.name},
                    "involvedObject": {"uid": about, "namespace": namespace.name},
                    "type": "Warning",
                    "reason": "Tested",
                    "message": "told by an event only",
                }
            )
        fields = f"involvedObject.uid={uid},type=Warning"
        return [
            len(await client.list("Event", namespace=namespace.name, fields=fields)),
            len(await client.list("Job", namespace=namespace.name, labels="test=no")),
            len(await client.list("Job", namespace=None, labels="test=yes")) > 0,
        ]

    assert with_client(use) == [1, 0, True]


def test_only_the_very_job_that_was_meant_is_deleted(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        uid = (await client.create(make_run_job(namespace.name)))["metadata"]["uid"]
        with pytest.raises(Conflict):
            await client.delete_job("run", namespace=namespace.name, uid="another")
        await client.get("Job", "run", namespace=namespace.name)
        await client.delete_job("run", namespace=namespace.name, uid=uid)

    with_client(use)
    wait_for(
        lambda: not namespace.kubectl.find("job", "run"), seconds=30, what="the Job to be gone"
    )


def test_only_the_very_job_that_was_meant_is_scaled(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> dict[str, Any]:
        uid = (await client.create(make_run_job(namespace.name)))["metadata"]["uid"]
        with pytest.raises(Conflict):
            await client.scale_job("run", namespace=namespace.name, uid="another", workers=5)
        await client.scale_job("run", namespace=namespace.name, uid=uid, workers=4)
        return await client.get("Job", "run", namespace=namespace.name)

    job = with_client(use)
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (4, 4)
    assert job["metadata"]["annotations"][APPLIED_WORKERS_ANNOTATION] == "4"


def test_a_status_is_replaced_as_a_whole(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> dict[str, Any]:
        job = await client.create(make_job(namespace.name))
        for status in (STATUS, {"phase": "Failed", "observedGeneration": 1}):
            job = await client.replace_status(
                "churn",
                namespace=namespace.name,
                resource_version=job["metadata"]["resourceVersion"],
                status=status,
            )
        return job

    job = with_client(use)
    assert job["status"] == {"phase": "Failed", "observedGeneration": 1}
    assert job["metadata"]["generation"] == 1


def test_a_status_is_not_written_over_what_was_not_read(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        job = await client.create(make_job(namespace.name))
        stale = job["metadata"]["resourceVersion"]
        where = {"namespace": namespace.name, "resource_version": stale}
        await client.replace_status("churn", status=STATUS, **where)
        with pytest.raises(Conflict):
            await client.replace_status("churn", status={"phase": "Failed"}, **where)
        read = await client.get("BatchInferenceJob", "churn", namespace=namespace.name)
        assert read["status"]["phase"] == "Running"

    with_client(use)


def test_a_status_that_breaks_the_schema(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        job = await client.create(make_job(namespace.name))
        with pytest.raises(Invalid, match="phase"):
            await client.replace_status(
                "churn",
                namespace=namespace.name,
                resource_version=job["metadata"]["resourceVersion"],
                status={"phase": "Sleeping"},
            )

    with_client(use)


@pytest.mark.parametrize("host", ["https://127.0.0.1:1", "https://no-such-host.invalid"])
def test_a_server_that_is_not_there(host: str) -> None:
    calls = []

    async def use() -> None:
        configuration = await load_configuration()
        configuration.host = host
        async with ApiClient(configuration) as client:
            cluster = KubernetesCluster(client, count_call=lambda *call: calls.append(call))
            with pytest.raises(Unreachable, match="get jobs failed"):
                await cluster.get("Job", "run", namespace="default")

    asyncio.run(use())
    assert calls == [("get", "jobs", "error")]


def test_a_server_that_does_not_answer() -> None:
    async def use() -> None:
        silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
        configuration = await load_configuration()
        configuration.host = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        async with ApiClient(configuration) as client:
            cluster = KubernetesCluster(client, call_seconds=0.3)
            with pytest.raises(Unreachable, match=r"within 0\.3 s"):
                await cluster.get("Job", "run", namespace="default")
        silent.close()

    asyncio.run(use())


def make_election(cluster: KubernetesCluster, namespace: str, identity: str) -> LeaseElection:
    return LeaseElection(
        cluster=cluster,
        namespace=namespace,
        name="operator",
        identity=identity,
        clock=time.monotonic,
        wall_clock=lambda: datetime.now(UTC),
        timing=LeaseTiming(lease_seconds=3, renew_seconds=2, retry_seconds=0.2),
    )


def test_a_released_lease_is_taken_at_once(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> float:
        first = make_election(client, namespace.name, "first")
        await first.acquire()
        waiting = asyncio.create_task(make_election(client, namespace.name, "second").acquire())
        await asyncio.sleep(0.5)
        assert not waiting.done()
        began = time.monotonic()
        await first.release()
        await waiting
        return time.monotonic() - began

    assert with_client(use) < 2


def test_a_lease_that_is_not_renewed_is_taken_over_and_its_holder_notices(
    namespace: Namespace,
) -> None:
    async def use(client: KubernetesCluster) -> float:
        first = make_election(client, namespace.name, "first")
        await first.acquire()
        began = time.monotonic()
        await make_election(client, namespace.name, "second").acquire()
        waited = time.monotonic() - began
        assert not first.is_current
        with pytest.raises(LeadershipLost):
            await first.hold()
        return waited

    assert with_client(use) >= 3


def test_a_lease_that_is_renewed_is_kept(namespace: Namespace) -> None:
    async def use(client: KubernetesCluster) -> None:
        first = make_election(client, namespace.name, "first")
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(make_election(client, namespace.name, "second").acquire())
        await asyncio.sleep(5)
        assert first.is_current
        assert not holding.done()
        assert not waiting.done()
        for task in (holding, waiting):
            task.cancel()

    with_client(use)


def test_connecting_reads_the_kubeconfig(namespace: Namespace) -> None:
    async def use() -> tuple[dict[str, Any], ...]:
        async with connect() as client:
            return await client.list("Job", namespace=namespace.name)

    assert asyncio.run(use()) == ()
