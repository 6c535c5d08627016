"""What becomes of some objects while a `with` block runs, over any interruption."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Self

from testkit.cluster.api_server import Manifest, RequestFailed, Stream, items_of
from testkit.cluster.kubectl import Kubectl

_PAUSE_SECONDS = 0.3
_WATCH_SECONDS = 60
_SILENT_SECONDS = _WATCH_SECONDS + 10
_END_SECONDS = 10


class Event(NamedTuple):
    """One change of an object, or the object as it was found."""

    kind: str
    """ADDED, MODIFIED or DELETED."""
    object: Manifest


class Watch:
    """Calls `take` with each event, in order, in a thread of its own.

    The objects are listed before the block begins, so that nothing which happens in it is missed,
    however late the thread comes to it; that raises RequestFailed if the server is not there.

    When the server breaks a watch off, as it does when it ends itself, the objects are listed again
    as soon as it answers, `begin` is called, and everything that is there comes as ADDED again;
    what was deleted in between is not told.

    Args:
        kubectl: with the namespace.
        kind: as `ApiServer.resource` finds it.
        take: gets each event; what it raises ends the watch.
        begin: called before the first event of each list.
        labels: selects objects by their labels.
        fields: selects objects by their fields.
    """

    def __init__(
        self,
        kubectl: Kubectl,
        kind: str,
        *,
        take: Callable[[Event], None],
        begin: Callable[[], None] = lambda: None,
        labels: str = "",
        fields: str = "",
    ) -> None:
        self._kubectl = kubectl
        self._kind = kind
        self._selectors = {"labelSelector": labels, "fieldSelector": fields}
        self._take = take
        self._begin = begin
        self._ending = threading.Event()
        self._stream: Stream | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, args=(self._list(),), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if stream := self._stream:
            stream.break_off()
        self._thread.join(_END_SECONDS)

    def is_running(self) -> bool:
        """Whether the server tells what happens, and somebody listens to it."""
        return self._stream is not None and self._thread.is_alive()

    def _list(self) -> Manifest:
        path = self._kubectl.path(self._kind)
        listing = self._kubectl.server.request("GET", path, **self._selectors)
        if listing is None:
            raise RequestFailed(f"{path} is not served")
        return listing

    def _list_again(self) -> Manifest | None:
        """List as soon as the server answers; None if the block ends before."""
        while not self._ending.wait(_PAUSE_SECONDS):
            with suppress(RequestFailed):
                return self._list()
        return None

    def _watch(self, listing: Manifest | None) -> None:
        while listing:
            self._begin()
            for found in items_of(listing):
                self._take(Event("ADDED", found))
            for event in self._changes_since(listing["metadata"]["resourceVersion"]):
                self._take(event)
            listing = self._list_again()

    def _changes_since(self, version: str) -> Iterator[Event]:
        """Return events until the server breaks off; where it only ended a watch, go on from it."""
        with suppress(RequestFailed):
            while True:
                for event in self._streamed_since(version):
                    version = event.object["metadata"]["resourceVersion"]
                    if event.kind != "BOOKMARK":
                        yield event
                if self._ending.wait(_PAUSE_SECONDS):
                    return

    def _streamed_since(self, version: str) -> Iterator[Event]:
        """Return the events of one watch, and the bookmarks, which keep a version from expiring."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
            "allowWatchBookmarks": "true",
            **self._selectors,
        }
        path = self._kubectl.path(self._kind)
        with self._kubectl.server.stream(path, silent_seconds=_SILENT_SECONDS, **query) as stream:
            self._stream = stream
            try:
                if self._ending.is_set():  # it was set while there was nothing to break off
                    return
                for document in stream.documents():
                    if document["type"] == "ERROR":
                        raise RequestFailed(document["object"].get("message", "an error"))
                    yield Event(document["type"], document["object"])
            finally:
                self._stream = None
