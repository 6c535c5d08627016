"""One job by name; if there is none, a sentence that helps to find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_operator.cluster.api import ClusterError, NotFound
from batch_inference_operator.kubectl_bij.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from batch_inference_operator.cluster.user_calls import UserCalls


def find_job(calls: UserCalls, name: str) -> Mapping[str, Any]:
    """The job as the server holds it.

    Raises:
        CommandFailed: there is none.
    """
    try:
        return calls.get_job(name)
    except NotFound:
        raise explain_missing(calls, name) from None


def explain_missing(calls: UserCalls, name: str) -> CommandFailed:
    """Why there is no job of that name: no such kind, another namespace, or a slip."""
    try:
        known = [item["metadata"]["name"] for item in calls.list_jobs().items]
    except NotFound:
        return CommandFailed(
            "this cluster has no BatchInferenceJobs: install the operator's Helm chart, or choose "
            "another cluster with --context"
        )
    except ClusterError:
        known = []
    return CommandFailed(missing_message(name, calls.namespace, known))


def missing_message(name: str, namespace: str, known: Iterable[str]) -> str:
    """The sentence, with the closest name that there is."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"there is no job {name!r} in namespace {namespace!r}; did you mean {close[0]!r}?"
    return (
        f"there is no job {name!r} in namespace {namespace!r}; `kubectl get bij "
        "--all-namespaces` lists them all, -n names another namespace"
    )
