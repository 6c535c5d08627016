"""An operator behind a proxy that can fail it, and the life of a job that is told to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_inference_operator.cluster.kubernetes_client import KubernetesCluster, connect
from testkit.api_proxy import (
    HIDDEN,
    ApiProxy,
    running_proxy,
    write_proxied_kubeconfig,
)
from testkit.cluster.namespaces import Namespace, fresh_namespace
from testkit.cluster.provider import Cluster
from testkit.cluster_jobs import KIND
from testkit.deadlines import wait_for
from testkit.manifests import make_manifest
from testkit.operator_process import OperatorProcess, running_operator

STEP_SECONDS = 45
QUICK = {"BIO_LEADER_ELECTION": "false", "BIO_PROGRESS_SECONDS": "1", "BIO_FENCE_SECONDS": "1"}
Job = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """An operator, its namespace, and the proxy between it and the API server."""

    namespace: Namespace
    proxy: ApiProxy
    operator: OperatorProcess

    def apply(self, name: str, **metadata: Any) -> None:
        self.namespace.kubectl.apply(make_hidden_job(name, **metadata))

    def change(self, name: str, **spec: Any) -> None:
        self.namespace.kubectl.patch(KIND, name, {"spec": spec})

    def write_status(self, name: str, patch: list[dict[str, Any]]) -> None:
        """Write a status as somebody who should not."""
        flags = ("--subresource=status", "--type=json", "-p", json.dumps(patch))
        self.namespace.kubectl("patch", KIND, name, *flags)

    def get(self, name: str) -> Job:
        return self.namespace.kubectl.get(KIND, name)

    def run_jobs(self, name: str) -> list[Job]:
        return self.namespace.kubectl.list(
            "jobs.batch", labels=f"batchinference.dev/job-name={name}"
        )

    def wait_for_condition(
        self, name: str, kind: str, reason: str, *, seconds: float = STEP_SECONDS
    ) -> Job:
        what = f"{kind}/{reason} of {name}"
        return wait_for(
            lambda: job if says(job := self.get(name), kind, reason) else None,
            seconds=seconds,
            what=what,
            every_seconds=0.3,
            explain=lambda: json.dumps(self.get(name).get("status")),
        )


def make_hidden_job(name: str, **metadata: Any) -> Job:
    return make_manifest(
        {
            "metadata": {"name": name, **metadata},
            "spec.model.storageUri": "s3://bucket/model.onnx",
            "spec.input.storageUris": ["s3://bucket/data/"],
            "spec.output.storageUri": f"s3://bucket/{name}/",
            "spec.workers": {"replicas": 1, "nodeSelector": {"no": "such-node"}},
            "spec.managedBy": HIDDEN,
        }
    )


def says(job: Job, kind: str, reason: str) -> bool:
    found = {each["type"]: each for each in job.get("status", {}).get("conditions", [])}
    return found.get(kind, {}).get("status") == "True" and found[kind]["reason"] == reason


def summary(job: Job) -> dict[str, Any]:
    """What of a status does not depend on when it was written."""
    status = job["status"]
    return {
        "phase": status["phase"],
        "run": status["run"]["number"],
        "workers": status["workers"],
        "conditions": {
            each["type"]: (each["status"], each["reason"]) for each in status["conditions"]
        },
    }


def open_scene(stack: ExitStack, cluster: Cluster, folder: Path, **settings: str) -> Scene:
    namespace = stack.enter_context(fresh_namespace(cluster, "api-faults"))
    proxy = stack.enter_context(running_proxy(cluster.kubeconfig))
    kubeconfig = write_proxied_kubeconfig(folder / "kubeconfig", proxy)
    log = folder / "operator.log"
    operator = stack.enter_context(
        running_operator(kubeconfig, namespace.name, log, **(QUICK | settings))
    )
    return Scene(namespace, proxy, operator)


class Story:
    """One job's life in a scene: it waits for a node, grows, and is suspended."""

    def __init__(self, scene: Scene, name: str, server: KubernetesCluster) -> None:
        self._scene = scene
        self._name = name
        self._server = server

    async def steps(self) -> dict[str, Any]:
        """Tell it; returns how it stood at the end of each step."""
        await asyncio.to_thread(self._scene.apply, self._name)
        waiting = await self._until(lambda job: says(job, "Reconciling", "Unschedulable"))
        await asyncio.to_thread(self._scene.change, self._name, workers={"replicas": 2})
        grown = await self._until(
            lambda job: (
                says(job, "Reconciling", "Unschedulable")
                and job["status"]["workers"]["desired"] == 2
            )
        )
        sizes = [job["spec"]["parallelism"] for job in await self._runs()]
        await asyncio.to_thread(self._scene.change, self._name, suspend=True)
        suspended = await self._until(lambda job: says(job, "Suspended", "Suspended"))
        steps = [summary(job) for job in (waiting, grown, suspended)]
        return {"steps": steps, "sizes": sizes, "left": len(await self._runs())}

    async def _until(self, arrived: Callable[[Job], bool]) -> Job:
        deadline = time.monotonic() + STEP_SECONDS
        while True:
            found = await self._server.list(
                "BatchInferenceJob",
                namespace=self._scene.namespace.name,
                fields=f"metadata.name={self._name}",
            )
            if found and arrived(found[0]):
                return found[0]
            assert time.monotonic() < deadline, (self._name, found)
            await asyncio.sleep(0.2)

    async def _runs(self) -> tuple[Job, ...]:
        return await self._server.list(
            "Job",
            namespace=self._scene.namespace.name,
            labels=f"batchinference.dev/job-name={self._name}",
        )


def tell(scene: Scene, *names: str) -> dict[str, dict[str, Any]]:
    """Tell the story of each name, all at once."""

    async def tell_all() -> dict[str, dict[str, Any]]:
        async with connect() as server, asyncio.TaskGroup() as group:
            told = {name: group.create_task(Story(scene, name, server).steps()) for name in names}
        return {name: task.result() for name, task in told.items()}

    return asyncio.run(tell_all())
