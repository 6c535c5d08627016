"""The Protocol of `cluster.api` over HTTP.

Objects are plain dicts all the way. The client library's own models refuse fields that they do not
know, before any request: a cluster newer than the library could not be talked to.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from batch_inference_operator.cluster.api import Conflict, Invalid, Unreachable
from batch_inference_operator.cluster.connection import load_configuration
from batch_inference_operator.cluster.refusals import Expired, refusal_of
from batch_inference_operator.cluster.resources import RESOURCES, Resource
from batch_inference_operator.cluster.server_clock import ServerClock
from batch_inference_operator.names import APPLIED_WORKERS_ANNOTATION, FIELD_MANAGER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from batch_inference_operator.cluster.api import Manifest
    from batch_inference_operator.cluster.rights import Right

    CountCall = Callable[[str, str, str], None]
    """Is told verb, resource, and the answer's code, `timeout` or `error`."""

CALL_SECONDS = 15.0
PAGE_SIZE = 500
_CONNECTIONS = 100
"""To the API server, at most: a call beyond them waits for one."""
_FRESH_LISTS = 3
"""How often a list is begun anew when its continuation has expired."""

_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"


class KubernetesCluster:
    """A cluster behind one API server; implements `Cluster`. `clock` is that server's."""

    def __init__(
        self,
        client: ApiClient,
        *,
        count_call: CountCall = lambda _verb, _resource, _code: None,
        call_seconds: float = CALL_SECONDS,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self.clock = ServerClock()
        self._client = client
        self._count_call = count_call
        self._call_seconds = call_seconds
        self._page_size = page_size

    async def create(self, manifest: Manifest) -> dict[str, Any]:
        resource = RESOURCES[manifest["kind"]]
        path = resource.path(manifest["metadata"]["namespace"])
        return await self._call("create", resource, path, body=manifest)

    async def get(self, kind: str, name: str, *, namespace: str) -> dict[str, Any]:
        resource = RESOURCES[kind]
        return await self._call("get", resource, resource.path(namespace, name))

    async def list(
        self, kind: str, *, namespace: str | None, labels: str = "", fields: str = ""
    ) -> tuple[dict[str, Any], ...]:
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(self._page_size)}
        for _ in range(_FRESH_LISTS):
            try:
                return await self._list_pages(RESOURCES[kind], namespace, query)
            except Expired as error:
                expired = error
        raise expired

    async def _list_pages(
        self, resource: Resource, namespace: str | None, query: Mapping[str, str]
    ) -> tuple[dict[str, Any], ...]:
        # Without a resourceVersion each list is read from etcd's quorum, never from a stale cache.
        items: list[dict[str, Any]] = []
        token = ""
        while True:
            asked = {**query, "continue": token}
            page = await self._call("list", resource, resource.path(namespace), query=asked)
            items += page.get("items") or []
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return tuple(_named(item, resource) for item in items)

    async def delete_job(self, name: str, *, namespace: str, uid: str) -> None:
        resource = RESOURCES["Job"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",  # a raw DELETE orphans a Job's pods
            "preconditions": {"uid": uid},
        }
        await self._call("delete", resource, resource.path(namespace, name), body=options)

    async def scale_job(self, name: str, *, namespace: str, uid: str, workers: int) -> None:
        resource = RESOURCES["Job"]
        patch = {
            "metadata": {
                "uid": uid,  # makes the server refuse to patch another object of that name
                "annotations": {APPLIED_WORKERS_ANNOTATION: str(workers)},
            },
            "spec": {"parallelism": workers, "completions": workers},
        }
        path = resource.path(namespace, name)
        try:
            await self._call("patch", resource, path, body=patch, content_type=_MERGE_PATCH)
        except Invalid as error:
            if "metadata.uid" in str(error):  # patches have no preconditions: it is immutable
                raise Conflict(f"Job {name!r} is not the one with UID {uid}") from error
            raise

    async def replace_status(
        self, name: str, *, namespace: str, resource_version: str, status: Mapping[str, Any]
    ) -> dict[str, Any]:
        resource = RESOURCES["BatchInferenceJob"]
        patch = [  # "add" replaces what is there, and works where nothing is
            {"op": "add", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "add", "path": "/status", "value": status},
        ]
        path = resource.path(namespace, name, part="status")
        return await self._call("patch", resource, path, body=patch, content_type=_JSON_PATCH)

    async def replace_lease(self, manifest: Manifest) -> dict[str, Any]:
        resource = RESOURCES["Lease"]
        metadata = manifest["metadata"]
        path = resource.path(metadata["namespace"], metadata["name"])
        return await self._call("update", resource, path, body=manifest)

    async def may(self, right: Right, *, namespace: str | None, name: str = "") -> bool:
        """Ask the server whether whoever asks has a right, on one object if it is named."""
        attributes = {
            "group": right.group,
            "resource": right.resource,
            "subresource": right.subresource,
            "verb": right.verb,
            "namespace": namespace or "",
            "name": name,
        }
        review = {
            "apiVersion": _REVIEW.api_version,
            "kind": _REVIEW.kind,
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._call("create", _REVIEW, _REVIEW.path(None), body=review)
        return bool(answer["status"]["allowed"])

    async def _call(
        self,
        verb: str,
        resource: Resource,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = _JSON,
    ) -> dict[str, Any]:
        """Make one call and return the object that it answers with."""
        code = "error"
        try:
            async with asyncio.timeout(self._call_seconds):
                status, headers, answer = await self._send(verb, path, query, body, content_type)
            code = str(status)
        except TimeoutError as error:
            code = "timeout"
            message = f"no answer to {verb} {resource.plural} within {self._call_seconds:g} s"
            raise Unreachable(message) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"{verb} {resource.plural} failed: {type(error).__name__}: {error}"
            raise Unreachable(message) from error
        finally:
            self._count_call(verb, resource.plural, code)
        call = f"{verb} {resource.plural}"
        if not 200 <= status < 300:
            raise refusal_of(status, answer, headers, is_create=verb == "create", call=call)
        return _read_object(answer, call)

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content_type: str,
    ) -> tuple[int, Mapping[str, str], bytes]:
        method, url, header_params, sent, _ = await self._client.param_serialize(
            _METHODS[verb],
            path,
            query_params=[
                *((name, value) for name, value in (query or {}).items() if value),
                *([("fieldManager", FIELD_MANAGER)] if verb in _WRITES else []),
            ],
            header_params={"Accept": _JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = await self._client.call_api(method, url, header_params, sent)
        self.clock.note(response.headers.get("Date"))
        answer = await response.read()  # type: ignore[no-untyped-call] # not annotated
        return response.status, response.headers, answer


_METHODS = {
    "create": "POST",
    "get": "GET",
    "list": "GET",
    "delete": "DELETE",
    "patch": "PATCH",
    "update": "PUT",
}
_WRITES = frozenset({"create", "patch", "update"})
_REVIEW = Resource(
    kind="SelfSubjectAccessReview",
    api_version="authorization.k8s.io/v1",
    plural="selfsubjectaccessreviews",
)


@asynccontextmanager
async def connect(
    *,
    count_call: CountCall = lambda _verb, _resource, _code: None,
) -> AsyncIterator[KubernetesCluster]:
    """Open connections to the API server of this pod, or of KUBECONFIG."""
    configuration = await load_configuration()
    configuration.connection_pool_maxsize = _CONNECTIONS
    async with ApiClient(configuration) as client:
        client.user_agent = FIELD_MANAGER
        yield KubernetesCluster(client, count_call=count_call)


def _read_object(answer: bytes, call: str) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except ValueError as error:
        raise Unreachable(f"the answer to {call} is not JSON") from error
    if not isinstance(document, dict):
        raise Unreachable(f"the answer to {call} is not an object")
    return document


def _named(item: dict[str, Any], resource: Resource) -> dict[str, Any]:
    """Items of built-in kinds come without their kind."""
    item.setdefault("apiVersion", resource.api_version)
    item.setdefault("kind", resource.kind)
    return item
