"""What kubectl tells of some objects while a `with` block runs, over any interruption."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

from testkit.cluster.kubectl import Kubectl, Manifest

_PAUSE_SECONDS = 0.3
_END_SECONDS = 10


class Event(NamedTuple):
    """One change of an object, or the object as it was found."""

    kind: str
    """ADDED, MODIFIED or DELETED."""
    object: Manifest


class Watch:
    """Calls `take` with each event, in order, in a thread of its own.

    kubectl ends when the API server cuts its watch, as it does when it ends itself. Then another is
    started until one stays, `begin` is called, and everything that is there comes as ADDED again;
    what was deleted in between is not told.

    Args:
        kubectl: with the namespace.
        arguments: of `kubectl get`: the kind, and a selector.
        take: gets each event; what it raises ends the watch.
        begin: called before the first event of each kubectl.
    """

    def __init__(
        self,
        kubectl: Kubectl,
        *arguments: str,
        take: Callable[[Event], None],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._command = ("get", *arguments, "--watch", "--output-watch-events", "-o", "json")
        self._kubectl = kubectl
        self._take = take
        self._begin = begin
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._process = self._start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._process.terminate()
        self._thread.join(_END_SECONDS)

    def is_running(self) -> bool:
        """Whether a kubectl is at work, and somebody listens to it."""
        return self._thread.is_alive() and self._process.poll() is None

    def _start(self) -> subprocess.Popen[str]:
        return self._kubectl.start(*self._command)

    def _watch(self) -> None:
        while True:
            self._begin()
            for event in _events_of(self._process):
                self._take(event)
            self._process.wait(_END_SECONDS)
            if self._ending.wait(_PAUSE_SECONDS):
                return
            self._process = self._start()
            if self._ending.is_set():  # it was set while there was nothing to terminate
                self._process.terminate()


def _events_of(process: subprocess.Popen[str]) -> Iterator[Event]:
    """Events as kubectl prints them: with their kinds, each is one line of JSON."""
    assert process.stdout is not None
    for line in process.stdout:
        if not line.endswith("\n"):
            return  # it was ended in the middle
        document = json.loads(line)
        yield Event(document["type"], document["object"])
