"""Jobs and pods as the API server sends them, and a look at them by the operator."""

from __future__ import annotations

import asyncio
from typing import Any

from batch_inference_operator.build.job import build_job
from batch_inference_operator.cache import Kind, ObjectCache
from batch_inference_operator.cluster.api import Unreachable
from batch_inference_operator.decide.record import Record
from batch_inference_operator.observation import (
    Observation,
    RunJob,
    RunPod,
)
from batch_inference_operator.observe import observe
from batch_inference_operator.progress_poll import Poll, PollTarget
from testkit.observations import (
    NOW,
    SETTINGS,
    instant,
    make_record,
    running_status,
)
from testkit.operator_jobs import make_job

NAME = build_job(make_job(), number=1, deadline_seconds=None, settings=SETTINGS)["metadata"]["name"]
RUNNING = {"running": {"startedAt": instant(30)}}


def job_as_sent(
    *, number: int = 1, status: dict[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    """The Job of a run as the operator creates it, and what the server adds."""
    raw = build_job(make_job(), number=number, deadline_seconds=None, settings=SETTINGS)
    raw["metadata"] |= {
        "uid": f"uid-of-run-{number}",
        "resourceVersion": "7",
        "creationTimestamp": instant(60),
    }
    raw["metadata"] |= metadata
    return raw | {"status": {"startTime": instant(59)} if status is None else status}


def pod_as_sent(
    state: dict[str, Any] | None = None,
    *,
    index: int | str | None = 0,
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """A pod as the Job controller creates it from the operator's template."""
    template = job_as_sent()["spec"]["template"]
    added = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    containers = [
        {"name": "istio-proxy", "state": {"terminated": {"exitCode": 99}}},
        {"name": "runner", "state": state},
    ]
    return {
        "metadata": {
            "name": f"{NAME}-{index}",
            "namespace": "scoring",
            "uid": f"uid-of-pod-{index}",
            "resourceVersion": "8",
            "creationTimestamp": instant(50),
            "labels": template["metadata"]["labels"] | added,
            "ownerReferences": [{"name": NAME, "uid": "uid-of-run-1", "controller": True}],
        }
        | metadata,
        "spec": {"nodeName": "node-a"} if spec is None else spec,
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "containerStatuses": containers if state else None,
        }
        | (status or {}),
    }


class Server:
    """Lists what it was given, but for the kind that is refused, and remembers what was asked."""

    def __init__(self, *, refused: str = "", **objects: list[dict[str, Any]]) -> None:
        self._objects = objects
        self._refused = refused
        self.asked: list[str] = []

    async def list(
        self, kind: str, *, namespace: str, labels: str = "", fields: str = ""
    ) -> tuple[dict[str, Any], ...]:
        assert namespace == "scoring"
        self.asked.append(f"{kind} {labels}{fields}")
        if kind == self._refused:
            raise Unreachable("timed out")
        return tuple(self._objects.get(kind, ()))


class Poller:
    """Answers with what it was given, and remembers who was asked."""

    def __init__(self, answer: Poll) -> None:
        self._answer = answer
        self.asked: list[PollTarget] = []

    async def __call__(self, target: PollTarget) -> Poll:
        self.asked.append(target)
        return self._answer


def look(
    *cached: dict[str, Any],
    record: Record | None = None,
    server: Server | None = None,
    poller: Poller | None = None,
) -> Observation:
    """Observe a job whose children are in the cache, or are what the server lists."""
    cache = ObjectCache()
    for raw in cached:
        cache.see(Kind.RUN_JOB if "template" in raw["spec"] else Kind.POD, raw)
    return asyncio.run(
        observe(
            record or make_record(status=running_status()),
            cluster=server or Server(),
            cache=cache,
            poll_progress=poller or Poller(Poll()),
            now=NOW,
        )
    )


def read_job(**parts: Any) -> RunJob:
    raw = job_as_sent(**parts)
    (job,) = look(raw, pod_as_sent(RUNNING), server=Server(Job=[raw])).jobs
    return job


def read_pod(*args: Any, **parts: Any) -> RunPod:
    (pod,) = look(job_as_sent(), pod_as_sent(*args, **parts)).pods
    return pod
