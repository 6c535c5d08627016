"""A proxy in front of an S3 server that misbehaves on purpose."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

_CONNECTION_HEADERS = {"content-length", "transfer-encoding", "connection", "date", "server"}
"""Those that are between two ends of a connection, and set anew."""


class Mischief(StrEnum):
    """What happens to a request."""

    IGNORE_CONDITIONS = "a condition that does not hold is answered as if it did"
    SLOW_DOWN = "answered with 503 SlowDown, not passed on"
    DENY = "answered with 403 AccessDenied, not passed on"
    RESET_AFTER = "passed on, then the connection is cut instead of an answer"
    ERROR_AFTER = "passed on, then answered with 500"
    TRUNCATE = "the body of the answer is cut in the middle"


@dataclass
class Proxy:
    """`choose(method, path)` says what happens to a request; None: nothing."""

    host: str
    """Of the server behind it."""
    endpoint: str = ""
    choose: Callable[[str, str], Mischief | None] = lambda _method, _path: None
    requests: list[str] = field(default_factory=list)


class Answer(NamedTuple):
    """What is answered to a request."""

    status: int
    body: bytes
    headers: dict[str, str]

    @classmethod
    def error(cls, status: int, code: str) -> Answer:
        return cls(status, f"<Error><Code>{code}</Code></Error>".encode(), {})


@contextmanager
def misbehaving(server_endpoint: str, listener: socket.socket | None = None) -> Iterator[Proxy]:
    """Run a proxy behind a listening socket; without one, on a free port of the loopback interface.

    It closes the socket.
    """
    proxy = Proxy(server_endpoint.removeprefix("http://"))
    listener = listener or socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    server = ThreadingHTTPServer((host, port), partial(_Handler, proxy), bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.daemon_threads = True
    proxy.endpoint = f"http://{host}:{port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: Proxy, *arguments) -> None:
        self._proxy = proxy
        super().__init__(*arguments)  # it handles the connection

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._proxy.requests.append(f"{self.command} {self.path}")
        match self._proxy.choose(self.command, self.path):
            case Mischief.SLOW_DOWN:
                self._send(Answer.error(503, "SlowDown"))
            case Mischief.DENY:
                self._send(Answer.error(403, "AccessDenied"))
            case Mischief.RESET_AFTER:
                self._forward(body)
                self._cut()
            case Mischief.ERROR_AFTER:
                self._forward(body)
                self._send(Answer.error(500, "InternalError"))
            case Mischief.IGNORE_CONDITIONS:
                answer = self._forward(body)
                self._send(Answer(200, b"", {"ETag": '"0"'}) if answer.status == 412 else answer)
            case Mischief.TRUNCATE:
                self._send_half(self._forward(body))
            case None:
                self._send(self._forward(body))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815 - names of the library

    def _forward(self, body: bytes) -> Answer:
        # The host and all conditions are signed: nothing may be changed on the way there.
        headers = dict(self.headers.items())
        upstream = http.client.HTTPConnection(self._proxy.host, timeout=10)
        upstream.request(self.command, self.path, body=body, headers=headers)
        response = upstream.getresponse()
        answer = response.read()
        upstream.close()
        return Answer(response.status, answer, dict(response.getheaders()))

    def _send(self, answer: Answer, *, at_most: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _CONNECTION_HEADERS:
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        length = answer.headers.get("Content-Length", 0) if is_head else len(answer.body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if not is_head:
            self.wfile.write(answer.body[:at_most])
            self.wfile.flush()

    def _send_half(self, answer: Answer) -> None:
        if len(answer.body) < 2:
            self._send(answer)
            return
        self._send(answer, at_most=len(answer.body) // 2)
        self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_arguments) -> None:
        pass
