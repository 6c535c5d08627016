"""What `helm test` says of a cluster, and of the job that it waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from batch_inference_operator.cluster.api import ClusterError, Unreachable
from batch_inference_operator.cluster.self_check import find_obstacles, wait_for_job
from batch_inference_operator.settings import Settings

if TYPE_CHECKING:
    from batch_inference_operator.cluster.kubernetes_client import KubernetesCluster


class OneJob:
    """A cluster with a job that stays as it is, or with none."""

    def __init__(self, *conditions: dict[str, str], is_there: bool = True) -> None:
        self._jobs = ({"status": {"conditions": conditions}},) if is_there else ()

    async def list(self, *_arguments: object, **_options: object) -> tuple[dict[str, Any], ...]:
        return self._jobs


def condition(kind: str, reason: str, message: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def told_of(job: OneJob) -> str:
    cluster = cast("KubernetesCluster", job)
    return asyncio.run(wait_for_job(cluster, namespace="team", name="test", seconds=0))


NO_PULL = "pod test-run-1-0: ErrImagePull: what the kubelet says"
SAID = {
    "one that has run": (OneJob(condition("Complete", "Succeeded", "")), ""),
    "one that failed": (
        OneJob(condition("Failed", "InputNotFound", "no file")),
        "the job test failed: InputNotFound: no file",
    ),
    "one that waits": (
        OneJob(
            condition("Complete", "ImagePullFailed", "", "False"),
            condition("Reconciling", "ImagePullFailed", NO_PULL),
        ),
        f"the job test has not ended within 0 s: ImagePullFailed: {NO_PULL}",
    ),
    "one in a queue": (
        OneJob(
            condition("Suspended", "Queued", "waits for a quota"),
            condition("Reconciling", "Queued", "", "False"),
        ),
        "the job test has not ended within 0 s: Queued: waits for a quota",
    ),
    "one that nobody has looked at": (
        OneJob(),
        "the job test has not ended within 0 s: no operator has looked at it",
    ),
    "none": (
        OneJob(is_there=False),
        "the job test has not ended within 0 s: it is not there",
    ),
}


@pytest.mark.parametrize(("job", "said"), SAID.values(), ids=SAID)
def test_a_job_that_has_not_run_is_told_with_its_reason(job: OneJob, said: str) -> None:
    assert told_of(job) == said


class FailingServer:
    """A cluster whose server fails where it is told to."""

    def __init__(self, *failing: str) -> None:
        self._failing = failing

    async def list(self, *_arguments: object, **_options: object) -> tuple[dict[str, Any], ...]:
        return self._answer("list", ())

    async def may(self, *_arguments: object, **_options: object) -> bool:
        return self._answer("may", True)

    def _answer(self, call: str, answer: Any) -> Any:
        if call in self._failing:
            raise Unreachable("the server is away")
        return answer


def obstacles_of(server: FailingServer) -> tuple[str, ...]:
    cluster = cast("KubernetesCluster", server)
    return asyncio.run(find_obstacles(cluster, Settings()))


def test_a_cluster_whose_server_answers_has_no_obstacles() -> None:
    assert obstacles_of(FailingServer()) == ()


def test_jobs_that_cannot_be_listed_are_an_obstacle() -> None:
    (obstacle,) = obstacles_of(FailingServer("list"))

    assert obstacle == "BatchInferenceJobs cannot be listed: the server is away"


def test_a_server_that_does_not_tell_the_rights_is_not_said_to_refuse_a_list() -> None:
    with pytest.raises(ClusterError, match="the server is away"):
        obstacles_of(FailingServer("may"))
