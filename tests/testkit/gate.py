"""A gate in front of an S3 server: a job goes on only as far as its test lets it.

A slow job may be through before a busy machine has done what was to happen while it ran. One that
is held at the gate is not, on any machine, and costs no processor while it waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from threading import Condition, Event

from testkit.s3_proxy import Proxy, misbehaving


class Gate:
    """Lets the commits of so many shards pass; the others are neither answered nor refused."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._passed: set[str] = set()
        self._at_most = 0.0
        self._changed = Condition()

    def let_pass(self, shards: int) -> None:
        """Let so many shards be committed, those before included."""
        self._let_pass(shards)

    def open(self) -> None:
        """Let the rest be committed too."""
        self._let_pass(math.inf)

    def _let_pass(self, at_most: float) -> None:
        with self._changed:
            self._at_most = at_most
            self._changed.notify_all()

    def wait_to_pass(self, method: str, path: str) -> None:
        """Come back when a request may go on to the server."""
        if method != "PUT" or "/commit/" not in path:
            return
        with self._changed:
            self._changed.wait_for(
                lambda: path in self._passed or len(self._passed) < self._at_most
            )
            self._passed.add(path)


class Silence:
    """From the first request that `begins` it on, no request is answered until it has ended."""

    def __init__(self, begins: Callable[[str, str], bool]) -> None:
        self.has_begun = Event()
        self._begins = begins
        self._ended = Event()

    def hold(self, method: str, path: str) -> None:
        """Come back when the request may go on to the server."""
        if self.has_begun.is_set() or self._begins(method, path):
            self.has_begun.set()
            self._ended.wait()

    def end(self) -> None:
        """Let everything through, also what was held."""
        self._ended.set()


@contextmanager
def silent(proxy: Proxy, begins: Callable[[str, str], bool]) -> Iterator[Silence]:
    """Let the server behind the proxy fall silent at a request, for as long as entered."""
    silence = Silence(begins)
    proxy.choose = silence.hold
    try:
        yield silence
    finally:
        proxy.choose = lambda *_: None
        silence.end()


@contextmanager
def gate_before(server_endpoint: str, listener: socket) -> Iterator[Gate]:
    """Run a gate that is shut; `listener` is where clients reach it."""
    gate = Gate()
    with misbehaving(server_endpoint, listener) as proxy:
        proxy.choose = gate.wait_to_pass
        gate.endpoint = proxy.endpoint
        try:
            yield gate
        finally:
            gate.open()
