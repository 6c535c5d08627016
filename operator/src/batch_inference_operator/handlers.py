"""What kopf calls: a change arrives, and goes to the feed. kopf is used for nothing else.

`on.event` leaves no trace on users' objects. kopf's other handlers would: finalizers, which keep a
namespace from going while the operator is down, and a copy of the whole spec in an annotation.
Nothing is retried here and no error stops the watch of other objects.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import kopf

from batch_inference_api.v1alpha1.job import GROUP, PLURAL, VERSION
from batch_inference_operator.cache import Kind
from batch_inference_operator.cluster.connection import NoCredentials, read_credentials
from batch_inference_operator.names import CHILD_SELECTOR

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Iterator

    from batch_inference_operator.feed import Feed
    from batch_inference_operator.settings import Settings

_RESOURCES = {
    Kind.JOB: (GROUP, VERSION, PLURAL),
    Kind.RUN_JOB: ("batch", "v1", "jobs"),
    Kind.POD: ("", "v1", "pods"),
}
_CHILDREN = (Kind.RUN_JOB, Kind.POD)
_REQUEST_SECONDS = 30
_CONNECT_SECONDS = 5
_WATCH_SECONDS = 600
"""How long one watch lasts before it is continued by another, on another API server perhaps."""
_SILENCE_SECONDS = 70
"""The server says something every minute, be it a bookmark; a watch that does not is dead."""


def register_handlers(feed: Feed) -> kopf.OperatorRegistry:
    """Say what kopf watches, and where changes go."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return await _log_in()

    @kopf.on.event(*_RESOURCES[Kind.JOB], registry=registry)
    async def on_job(event: kopf.RawEvent, **_: Any) -> None:
        _take(feed, Kind.JOB, event)

    @kopf.on.event(*_RESOURCES[Kind.RUN_JOB], registry=registry)
    async def on_run_job(event: kopf.RawEvent, **_: Any) -> None:
        _take(feed, Kind.RUN_JOB, event)

    @kopf.on.event(*_RESOURCES[Kind.POD], registry=registry)
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        _take(feed, Kind.POD, event)

    return registry


def watch_settings() -> kopf.OperatorSettings:
    """Settings of kopf that make it a watcher, and only that."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # no log line becomes an event of a user's object
    settings.peering.standalone = True  # a Lease elects; peering pauses all who have equal rank
    settings.scanning.disabled = True  # no right to list namespaces and CRDs is needed
    settings.execution.max_workers = 1  # no handler is a plain function
    settings.process.ultimate_exiting_timeout = None
    settings.queueing.worker_limit = None  # a limit below the number of objects never gets going
    settings.queueing.exit_timeout = 0.5
    settings.persistence.diffbase_storage = _NoDiffs()
    _set_networking(settings)
    # Only these restrict what the server sends; `labels=` of a handler drops what has arrived.
    for kind in _CHILDREN:
        settings.watching.label_selectors[_RESOURCES[kind]] = CHILD_SELECTOR
    return settings


async def start_watching(feed: Feed, settings: Settings) -> Collection[asyncio.Task[Any]]:
    """Start kopf's tasks in this event loop; they run until they are cancelled, or fail."""
    return await kopf.spawn_tasks(
        registry=register_handlers(feed),
        settings=watch_settings(),
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
    )


def _set_networking(settings: kopf.OperatorSettings) -> None:
    settings.networking.request_timeout = _REQUEST_SECONDS
    settings.networking.connect_timeout = _CONNECT_SECONDS
    settings.networking.error_backoffs = _UntilItWorks()
    settings.networking.trust_env = True  # as kubectl does
    settings.watching.connect_timeout = _CONNECT_SECONDS
    settings.watching.server_timeout = _WATCH_SECONDS
    settings.watching.client_timeout = _WATCH_SECONDS + _SILENCE_SECONDS
    settings.watching.inactivity_timeout = _SILENCE_SECONDS
    settings.watching.reconnect_backoff = 0.5
    settings.watching.chunk_size = 500


async def _log_in() -> kopf.ConnectionInfo:
    try:
        found = await read_credentials()
    except NoCredentials as error:
        raise kopf.LoginError(str(error)) from error
    return kopf.ConnectionInfo(
        server=found.server,
        ca_path=found.ca_path,
        insecure=found.is_insecure,
        token=found.token,
        certificate_path=found.certificate_path,
        private_key_path=found.private_key_path,
        proxy_url=found.proxy_url,
        trust_env=True,
    )


def _take(feed: Feed, kind: Kind, event: kopf.RawEvent) -> None:
    feed.take(kind, event["object"], is_deleted=event["type"] == "DELETED")


class _UntilItWorks:
    """Pauses between tries, without end: kopf's default gives up after a minute, and ends."""

    def __iter__(self) -> Iterator[float]:
        return chain((1, 2, 4, 8), repeat(10))


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps kopf from copying each object, and from reading annotations that users may forge."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Keep nothing."""
