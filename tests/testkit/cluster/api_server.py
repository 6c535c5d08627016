"""The API server without kubectl: one connection, where kubectl takes a process for each request.

Tests ask it many times a second what has become of an object; what users type, they run as kubectl.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubernetes.client import ApiClient
from kubernetes.config import ConfigException, new_client_from_config
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

Manifest = dict[str, Any]

_ANSWER_SECONDS = 60
_EVERY_RESOURCE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class RequestFailed(Exception):
    """The server refused a request or a command, or was not there; the message is what was said."""


@dataclass(frozen=True)
class Resource:
    """What the server calls a kind of objects, in the version that it prefers."""

    group: str
    version: str
    kind: str
    names: frozenset[str]
    """In lower case: plural, singular, short, and the kind itself."""
    plural: str
    is_namespaced: bool

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the path of one object, or of all; without a namespace, of all namespaces."""
        root = f"/apis/{self.group}" if self.group else "/api"
        within = f"/namespaces/{namespace}" if self.is_namespaced and namespace else ""
        return f"{root}/{self.version}{within}/{self.plural}" + (f"/{name}" if name else "")


class Stream:
    """An answer that goes on, and of which each line is a document."""

    def __init__(self, response: BaseHTTPResponse, request: str) -> None:
        self._response = response
        self._request = request

    def documents(self) -> Iterator[Manifest]:
        """Return what comes; raises RequestFailed if the server breaks off before its end."""
        with _failures_of(self._request):
            for line in self._response:
                if not line.endswith(b"\n"):
                    raise RequestFailed(f"{self._request}: cut in the middle of a line")
                yield json.loads(line)

    def break_off(self) -> None:
        """Have a thread that waits for the next document find the connection broken, at once."""
        connection = self._response.connection
        if connection and connection.sock:
            with suppress(OSError):
                # TLS's own shutdown would have the thread read what is left without decrypting it.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


class ApiServer:
    """Answers requests with the credentials of a kubeconfig. Threads may share it."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._resources: tuple[Resource, ...] = ()

    def resource(self, word: str) -> Resource:
        """Find a kind as kubectl does: by its plural, singular or short name, as `jobs.batch`."""
        name, _, group = word.lower().partition(".")
        for refresh in (False, True):
            if refresh or not self._resources:
                self._resources = self._discover()
            for resource in self._resources:
                if name in resource.names and resource.group.startswith(group):
                    return resource
        raise RequestFailed(f"the server has no resource {word!r}")

    def path_of(self, manifest: Manifest, *, namespace: str | None) -> str:
        """Return the path of the object that a manifest is of, `namespace` if it names none."""
        group, _, version = manifest["apiVersion"].rpartition("/")
        metadata = manifest["metadata"]
        resource = replace(self.resource(f"{manifest['kind']}.{group}"), version=version)
        return resource.path(metadata.get("namespace", namespace), metadata["name"])

    def request(
        self, method: str, path: str, *, body: Manifest | None = None, media: str = "", **query: str
    ) -> Manifest | None:
        """Make a request and return the answer; None if there is no such object.

        Raises RequestFailed.
        """
        url = path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": media or "application/json"}
        answer = self._answer(method, url, headers, None if body is None else json.dumps(body))
        return None if answer is None else json.loads(answer)

    @contextmanager
    def stream(self, path: str, *, silent_seconds: float, **query: str) -> Iterator[Stream]:
        """Ask for an answer that goes on, and may be silent for so long and no longer.

        Raises RequestFailed.
        """
        url = f"{path}?{urlencode(query)}"
        headers = {"Accept": "application/json"}
        response = self._send("GET", url, headers, seconds=silent_seconds, preload_content=False)
        try:
            _refuse_errors(response, f"GET {url}")
            yield Stream(response, f"GET {url}")
        finally:
            response.close()

    def _discover(self) -> tuple[Resource, ...]:
        headers = {"Accept": _EVERY_RESOURCE}
        groups = [
            group
            for root in ("/api", "/apis")
            for group in json.loads(self._answer("GET", root, headers) or "{}")["items"]
        ]
        return tuple(
            Resource(
                group=group["metadata"].get("name", ""),
                version=version["version"],
                kind=found["responseKind"]["kind"],
                names=frozenset(
                    name.lower()
                    for name in (
                        found["resource"],
                        found["singularResource"],
                        found["responseKind"]["kind"],
                        *found.get("shortNames", ()),
                    )
                ),
                plural=found["resource"],
                is_namespaced=found["scope"] == "Namespaced",
            )
            for group in groups
            for version in group["versions"][:1]
            for found in version.get("resources", ())
        )

    def _answer(
        self, method: str, url: str, headers: dict[str, str], body: str | None = None
    ) -> str | None:
        response = self._send(method, url, headers, body)
        if response.status == HTTPStatus.NOT_FOUND and method == "GET":
            return None
        _refuse_errors(response, f"{method} {url}")
        return response.data.decode()

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: str | None = None,
        *,
        seconds: float = _ANSWER_SECONDS,
        preload_content: bool = True,
    ) -> BaseHTTPResponse:
        with _failures_of(f"{method} {url}"):
            client = self._client
            client.update_params_for_auth(headers, [], ["BearerToken"], url, method, body)
            return client.rest_client.pool_manager.request(
                method,
                client.configuration.host + url,
                body=body,
                headers=headers,
                timeout=seconds,
                preload_content=preload_content,
            )

    @cached_property
    def _client(self) -> ApiClient:
        return new_client_from_config(str(self._kubeconfig))


def items_of(listing: Manifest) -> list[Manifest]:
    """Return the objects of a list, with the header that the server leaves out there."""
    header = {
        "apiVersion": listing["apiVersion"],
        "kind": listing["kind"].removesuffix("List"),
    }
    return [header | item for item in listing["items"]]


@contextmanager
def _failures_of(request: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, ConfigException) as error:
        raise RequestFailed(f"{request}: {error}") from error


def _refuse_errors(response: BaseHTTPResponse, request: str) -> None:
    if response.status >= HTTPStatus.BAD_REQUEST:
        with _failures_of(request):
            raise RequestFailed(f"{request}: {_message(response.data.decode())}")


def _message(text: str) -> str:
    try:
        return json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return text
