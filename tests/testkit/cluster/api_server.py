"""The API server without kubectl: one connection, where kubectl takes a process for each request.

Tests ask it many times a second what has become of an object; what users type, they run as kubectl.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubernetes.client import ApiClient
from kubernetes.config import ConfigException, new_client_from_config
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

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the path of one object, or of all; without a namespace, of all namespaces."""
        root = f"/apis/{self.group}" if self.group else "/api"
        within = f"/namespaces/{namespace}" if self.is_namespaced and namespace else ""
        return f"{root}/{self.version}{within}/{self.plural}" + (f"/{name}" if name else "")


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
        try:
            client = self._client
            client.update_params_for_auth(headers, [], ["BearerToken"], url, method, body)
            response = client.rest_client.pool_manager.request(
                method,
                client.configuration.host + url,
                body=body,
                headers=headers,
                timeout=_ANSWER_SECONDS,
            )
        except (HTTPError, ConfigException) as error:
            raise RequestFailed(f"{method} {url}: {error}") from error
        text = response.data.decode()
        if response.status == HTTPStatus.NOT_FOUND and method == "GET":
            return None
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise RequestFailed(f"{method} {url}: {_message(text)}")
        return text

    @cached_property
    def _client(self) -> ApiClient:
        return new_client_from_config(str(self._kubeconfig))


def _message(text: str) -> str:
    try:
        return json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return text
