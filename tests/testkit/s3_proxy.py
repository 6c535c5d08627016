"""A proxy in front of an S3 server that misbehaves on purpose."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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

    endpoint: str
    choose: Callable[[str, str], Mischief | None] = lambda _method, _path: None
    requests: list[str] = field(default_factory=list)


@contextmanager
def misbehaving(server_endpoint: str):
    """Run a proxy on a free port of the loopback interface."""
    host = server_endpoint.removeprefix("http://")
    proxy = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.requests.append(f"{self.command} {self.path}")
            mischief = proxy.choose(self.command, self.path)
            if mischief is Mischief.SLOW_DOWN:
                self.answer(503, b"<Error><Code>SlowDown</Code></Error>", {})
                return
            if mischief is Mischief.DENY:
                self.answer(403, b"<Error><Code>AccessDenied</Code></Error>", {})
                return
            status, headers, answer = self.forward(body)
            if mischief is Mischief.IGNORE_CONDITIONS and status == 412:
                status, headers, answer = 200, {"ETag": '"0"'}, b""
            if mischief is Mischief.RESET_AFTER:
                self.close_connection = True
                self.connection.shutdown(2)
            elif mischief is Mischief.ERROR_AFTER:
                self.answer(500, b"<Error><Code>InternalError</Code></Error>", {})
            elif mischief is Mischief.TRUNCATE and len(answer) > 1:
                self.answer(status, answer, headers, sent=len(answer) // 2)
                self.close_connection = True
                self.connection.shutdown(2)
            else:
                self.answer(status, answer, headers)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815 - names of the library

        def forward(self, body):
            # The host and all conditions are signed: nothing may be changed on the way there.
            headers = dict(self.headers.items())
            upstream = http.client.HTTPConnection(host, timeout=10)
            upstream.request(self.command, self.path, body=body, headers=headers)
            response = upstream.getresponse()
            answer = response.read()
            upstream.close()
            return response.status, dict(response.getheaders()), answer

        def answer(self, status, body, headers, sent=None):
            self.send_response(status)
            skipped = {"content-length", "transfer-encoding", "connection", "date", "server"}
            for name, value in headers.items():
                if name.lower() not in skipped:
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length or 0))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if sent is None else body[:sent])
                self.wfile.flush()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
