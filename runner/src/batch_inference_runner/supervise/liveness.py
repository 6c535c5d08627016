"""Answers `GET /livez` to the kubelet, from the supervisor's own loop and without a thread.

That is the point: a supervisor that stands still does not answer, the kubelet kills its container,
and the Job replaces the pod.
"""

from __future__ import annotations

import select
import socket

_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
    b"Connection: close\r\n\r\nok\n"
)
_MAX_WAITING = 32
"""Connections that have not asked yet; the oldest goes when there are more."""


class Liveness:
    """A listening socket and those who are about to ask, all of them watched by one `poll`."""

    def __init__(self, port: int, poll: select.poll) -> None:
        self._poll = poll
        self._listener = socket.create_server(
            ("::" if socket.has_dualstack_ipv6() else "", port),
            family=socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET,
            dualstack_ipv6=socket.has_dualstack_ipv6(),
        )
        self._listener.setblocking(False)  # noqa: FBT003 - positional only
        self._waiting: dict[int, socket.socket] = {}
        poll.register(self._listener, select.POLLIN)

    def on_readable(self, descriptor: int) -> None:
        """Let somebody in, or answer; other descriptors are left alone."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._waiting:
            self._answer(descriptor)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # whoever it was has hung up again
        connection.setblocking(False)  # noqa: FBT003 - positional only
        if len(self._waiting) == _MAX_WAITING:
            self._drop(next(iter(self._waiting)))
        self._waiting[connection.fileno()] = connection
        self._poll.register(connection, select.POLLIN)

    def _answer(self, descriptor: int) -> None:
        connection = self._waiting[descriptor]
        try:
            # Unread bytes would turn the end of the connection into a reset, and lose the answer.
            if connection.recv(4096):
                connection.send(_ANSWER)
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # a probe that has hung up counts as one that failed, and the next one comes soon
        self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._waiting.pop(descriptor).close()
