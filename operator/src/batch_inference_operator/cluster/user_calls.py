"""What `kubectl bij` asks of a cluster, as the user of a kubeconfig."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from batch_inference_operator.cluster.api import Unreachable
from batch_inference_operator.cluster.refusals import refusal_of
from batch_inference_operator.cluster.resources import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch_inference_operator.cluster.user_connection import UserConnection

WATCH_SECONDS = 60
"""The server ends a watch after this; nothing that a watch missed stays unseen for longer."""
_LATE_SECONDS = 15.0
_QUIET_LOG_SECONDS = 3600.0
_JOBS = RESOURCES["BatchInferenceJob"]
_PAGE_SIZE = "500"
_MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """What a watch tells: an object as it is now, or that it is gone."""

    raw: Mapping[str, Any]
    is_gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """Jobs, and the version of the list, from which on changes can be watched."""

    items: tuple[Mapping[str, Any], ...]
    version: str


class UserCalls(Protocol):
    """The calls of `kubectl bij`, in one namespace. All raise ClusterError."""

    @property
    def namespace(self) -> str:
        """Where all of this happens."""
        ...

    def get_job(self, name: str) -> Mapping[str, Any]:
        """Read one BatchInferenceJob."""
        ...

    def list_jobs(self, name: str | None = None) -> JobList:
        """List the BatchInferenceJobs, or the one of that name."""
        ...

    def watch_jobs(self, version: str, name: str | None = None) -> Iterator[JobChange]:
        """Tell what changes after that version, until the server ends the watch."""
        ...

    def list_pods(self, labels: str) -> tuple[Mapping[str, Any], ...]:
        """List pods with these labels."""
        ...

    def list_events(self, uid: str) -> tuple[Mapping[str, Any], ...]:
        """List events about one object."""
        ...

    def read_log(
        self, pod: str, *, container: str, follow: bool, tail: int | None
    ) -> Iterator[bytes]:
        """The lines of a container's log; with `follow` those to come, until it ends."""
        ...

    def set_suspend(self, name: str, *, uid: str, suspend: bool) -> None:
        """Write `spec.suspend` of a job, if it is still that very one."""
        ...


class UserCluster:
    """`UserCalls` over HTTP."""

    def __init__(self, connection: UserConnection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    @property
    def namespace(self) -> str:
        return self._namespace

    def get_job(self, name: str) -> Mapping[str, Any]:
        return self._get(_JOBS.path(self._namespace, name), {})

    def list_jobs(self, name: str | None = None) -> JobList:
        query = {"fieldSelector": _named(name)}
        items, version = self._list(_JOBS.path(self._namespace), query)
        return JobList(items=items, version=version)

    def watch_jobs(self, version: str, name: str | None = None) -> Iterator[JobChange]:
        query = {
            "watch": "true",
            "resourceVersion": version,
            "fieldSelector": _named(name),
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        path = _JOBS.path(self._namespace)
        patience = WATCH_SECONDS + _LATE_SECONDS
        with self._connection.call("GET", path, query=query, seconds=patience) as answer:
            for line in answer:
                yield _read_change(line)

    def list_pods(self, labels: str) -> tuple[Mapping[str, Any], ...]:
        path = RESOURCES["Pod"].path(self._namespace)
        return self._list(path, {"labelSelector": labels})[0]

    def list_events(self, uid: str) -> tuple[Mapping[str, Any], ...]:
        path = RESOURCES["Event"].path(self._namespace)
        return self._list(path, {"fieldSelector": f"involvedObject.uid={uid}"})[0]

    def read_log(
        self, pod: str, *, container: str, follow: bool, tail: int | None
    ) -> Iterator[bytes]:
        query = {
            "container": container,
            "follow": "true" if follow else "",
            "tailLines": "" if tail is None else str(tail),
        }
        path = RESOURCES["Pod"].path(self._namespace, pod, part="log")
        with self._connection.call("GET", path, query=query, seconds=_QUIET_LOG_SECONDS) as answer:
            yield from answer

    def set_suspend(self, name: str, *, uid: str, suspend: bool) -> None:
        patch = {"metadata": {"uid": uid}, "spec": {"suspend": suspend}}
        path = _JOBS.path(self._namespace, name)
        body = json.dumps(patch).encode()
        query = {"fieldManager": "kubectl-bij"}
        with self._connection.call(
            "PATCH", path, query=query, body=body, content_type=_MERGE_PATCH
        ) as answer:
            _read_object(answer.read())

    def _list(
        self, path: str, query: Mapping[str, str]
    ) -> tuple[tuple[Mapping[str, Any], ...], str]:
        items: list[Mapping[str, Any]] = []
        token = ""
        while True:
            page = self._get(path, {**query, "limit": _PAGE_SIZE, "continue": token})
            items += page.get("items") or ()
            token = page["metadata"].get("continue") or ""
            if not token:
                return tuple(items), page["metadata"]["resourceVersion"]

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        with self._connection.call("GET", path, query=query) as answer:
            return _read_object(answer.read())


def _named(name: str | None) -> str:
    return "" if name is None else f"metadata.name={name}"


def _read_change(line: bytes) -> JobChange:
    """Read one event of a watch; its error event is an answer like any other."""
    event = _read_json(line)
    if "type" not in event or "object" not in event:
        raise _foreign_answer()
    if event["type"] == "ERROR":
        body = json.dumps(event["object"]).encode()
        raise refusal_of(event["object"].get("code", 500), body, {}, is_create=False)
    return JobChange(raw=event["object"], is_gone=event["type"] == "DELETED")


def _read_object(answer: bytes) -> dict[str, Any]:
    document = _read_json(answer)
    if "metadata" not in document:
        raise _foreign_answer()
    return document


def _read_json(answer: bytes) -> dict[str, Any]:
    """A JSON object; a line of a watch may have been cut."""
    try:
        document = json.loads(answer)
    except ValueError:
        raise _foreign_answer() from None
    if not isinstance(document, dict):
        raise _foreign_answer()
    return document


def _foreign_answer() -> Unreachable:
    return Unreachable("the answer is not the API server's: is there a login page in front of it?")
