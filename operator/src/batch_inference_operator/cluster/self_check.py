"""Whether an operator with these settings could work here: `batch-inference-operator check`.

Run in a pod with the operator's own ServiceAccount, as `helm test` does, it tells the first thing
that is missing before any job waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from batch_inference_operator.cluster.api import ClusterError
from batch_inference_operator.cluster.rights import (
    JOB_RIGHTS,
    LEASE_RIGHTS,
    NETWORK_POLICY_RIGHTS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_inference_operator.cluster.kubernetes_client import KubernetesCluster
    from batch_inference_operator.cluster.rights import Right
    from batch_inference_operator.settings import Settings

_LOOK_SECONDS = 1.0


async def find_obstacles(cluster: KubernetesCluster, settings: Settings) -> tuple[str, ...]:
    """What keeps an operator with these settings from working, one sentence each.

    Raises ClusterError if the server does not tell what rights there are.
    """
    scopes: tuple[str | None, ...] = settings.watch_namespaces or (None,)
    try:
        for scope in scopes:
            await cluster.list("BatchInferenceJob", namespace=scope)
    except ClusterError as error:
        return (f"BatchInferenceJobs cannot be listed: {error}",)
    missing = [
        f"the right to {right} in {namespace or 'all namespaces'} is missing"
        for right, namespace, name in _needed(settings, scopes)
        if not await cluster.may(right, namespace=namespace, name=name)
    ]
    return tuple(missing)


async def wait_for_job(
    cluster: KubernetesCluster, *, namespace: str, name: str, seconds: float
) -> str:
    """Wait until a job has ended; says what went wrong, or nothing if it succeeded."""
    found: tuple[dict[str, Any], ...] = ()
    try:
        async with asyncio.timeout(seconds):
            while True:
                # There is no right to get one: the operator itself never does.
                found = await cluster.list(
                    "BatchInferenceJob", namespace=namespace, fields=f"metadata.name={name}"
                )
                for condition in _true_conditions(found, "Complete", "Failed"):
                    is_complete = condition["type"] == "Complete"
                    return "" if is_complete else f"the job {name} failed: {_told(condition)}"
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return f"the job {name} has not ended within {seconds:g} s: {_state_of(found)}"


def _state_of(jobs: tuple[dict[str, Any], ...]) -> str:
    """What a job that has not ended waits for."""
    if not jobs:
        return "it is not there"
    for condition in _true_conditions(jobs, "Reconciling", "Suspended"):
        return _told(condition)
    return "no operator has looked at it"


def _told(condition: dict[str, Any]) -> str:
    return f"{condition['reason']}: {condition['message']}"


def _needed(
    settings: Settings, scopes: tuple[str | None, ...]
) -> Iterator[tuple[Right, str | None, str]]:
    """Yield each right, where it is needed, and on which object if it is about one."""
    in_scopes = JOB_RIGHTS + (NETWORK_POLICY_RIGHTS if settings.network_policies else ())
    for scope in scopes:
        for right in in_scopes:
            yield right, scope, ""
    if settings.leader_election:
        for right in LEASE_RIGHTS:
            name = "" if right.verb == "create" else settings.lease_name
            yield right, settings.namespace, name


def _true_conditions(jobs: tuple[dict[str, Any], ...], *kinds: str) -> Iterator[dict[str, Any]]:
    for job in jobs:
        for condition in (job.get("status") or {}).get("conditions") or ():
            if condition["type"] in kinds and condition["status"] == "True":
                yield condition
