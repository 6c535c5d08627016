"""The operator dies before and after each of its writes, and another one ends in the same state.

A job goes through its life on the real API server: created, grown, suspended, resumed, failed by a
deadline, cleared away. Its pods fit no node, so that nothing but the operator writes about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from batch_inference_operator.cluster.kubernetes_client import connect
from batch_inference_operator.keys import Key
from batch_inference_operator.settings import Settings
from testkit.cluster.api_server import Manifest
from testkit.cluster.namespaces import Namespace
from testkit.cluster_jobs import KIND
from testkit.manifests import make_manifest
from testkit.operator_lives import Died, MortalCluster, OperatorLife

SETTINGS = Settings(fence_seconds=1, progress_seconds=1)
STEP_SECONDS = 60
CERTAIN_WRITES = 12
"""Two Jobs, their companions, statuses and events; how many more there are depends on timing."""
Arrived = Callable[[dict[str, Any]], bool]


def conditions_of(job: dict[str, Any]) -> dict[str, tuple[str, str]]:
    found = job.get("status", {}).get("conditions", [])
    return {each["type"]: (each["status"], each["reason"]) for each in found}


def is_true(kind: str, reason: str = "") -> Arrived:
    def arrived(job: dict[str, Any]) -> bool:
        status, why = conditions_of(job).get(kind, ("", ""))
        return status == "True" and reason in ("", why)

    return arrived


class Story:
    """One job's life, told to one operator after the other."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.key = Key(namespace.name, name)
        self._kubectl = namespace.kubectl
        self._name = name

    async def steps(self, live: Callable[[Arrived], Any]) -> dict[str, Any]:
        """Tell the story; `live` lets an operator work until the job is as expected."""
        await self._apply()
        await live(is_true("Reconciling", "Unschedulable"))
        await self._change({"workers": {"replicas": 3}})
        await live(lambda _job: self._parallelism() == 3)
        await self._change({"suspend": True})
        await live(is_true("Suspended"))
        await self._change(
            {"suspend": False, "preRunningDeadlineSeconds": 2, "ttlSecondsAfterFinished": 0}
        )
        return await live(is_true("Failed", "PreRunningDeadlineExceeded"))

    async def end(self) -> dict[str, Any]:
        """What is left of the job's children."""
        left = await asyncio.to_thread(self._runs)
        return {"jobs": len(left)}

    def _parallelism(self) -> int:
        jobs = self._runs()
        return jobs[0]["spec"]["parallelism"] if jobs else 0

    def _runs(self) -> list[Manifest]:
        selector = f"batchinference.dev/job-name={self._name}"
        return self._kubectl.list("jobs.batch", labels=selector)

    async def _apply(self) -> None:
        manifest = make_manifest(
            {
                "metadata.name": self._name,
                "spec.model.storageUri": "s3://bucket/model.onnx",
                "spec.input.storageUris": ["s3://bucket/data/"],
                "spec.output.storageUri": f"s3://bucket/{self._name}/",
                "spec.workers": {"replicas": 2, "nodeSelector": {"no": "such-node"}},
            }
        )
        await asyncio.to_thread(self._kubectl.apply, manifest)

    async def _change(self, spec: dict[str, Any]) -> None:
        await asyncio.to_thread(self._kubectl.patch, KIND, self._name, {"spec": spec})


async def tell(
    story: Story, *, at_write: int | None, before: bool = False
) -> tuple[Any, int, bool]:
    """Tell a story to an operator that dies at a write, and to its successor.

    Returns what became of the job, the writes of the first operator, and whether it has died.
    """
    async with connect() as cluster:
        mortal = MortalCluster(cluster, at_write=at_write, before=before)
        lives = [OperatorLife(mortal, SETTINGS)]

        async def live(arrived: Arrived) -> dict[str, Any]:
            try:
                return await lives[-1].live_until(story.key, arrived, seconds=STEP_SECONDS)
            except Died:
                successor = MortalCluster(cluster, at_write=None)
                lives.append(OperatorLife(successor, SETTINGS))
                return await lives[-1].live_until(story.key, arrived, seconds=STEP_SECONDS)

        job = await story.steps(live)
        summary = (conditions_of(job), job["status"]["run"]["number"], await story.end())
        return summary, len(mortal.writes), len(lives) > 1


@pytest.mark.usefixtures("nobody_else")
def test_it_may_die_before_and_after_every_write(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(namespace.cluster.kubeconfig))
    asyncio.run(sweep(namespace))


async def sweep(namespace: Namespace) -> None:
    expected, writes, _ = await tell(Story(namespace, "undisturbed"), at_write=None)
    assert writes >= CERTAIN_WRITES
    deaths = [(n, before) for n in range(1, writes + 1) for before in (True, False)]
    at_once = asyncio.Semaphore(6)

    async def die(n: int, before: bool) -> None:
        name = f"{'before' if before else 'after'}-{n}"
        async with at_once:
            found, _, died = await tell(Story(namespace, name), at_write=n, before=before)
        assert found == expected, name
        assert died or n > CERTAIN_WRITES, f"{name} never died"

    async with asyncio.TaskGroup() as group:
        for n, before in deaths:
            group.create_task(die(n, before))
