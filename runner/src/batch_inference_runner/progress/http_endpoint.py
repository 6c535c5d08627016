"""The HTTP side of a run, hardened: few threads, small requests, deadlines, two methods."""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import socket
import sys
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from batch_inference_runner.progress.metrics import CONTENT_TYPE, render
from batch_inference_runner.progress.report import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_runner.progress.counters import Progress
    from batch_inference_runner.progress.server import OnJoin

MAX_CONNECTIONS = 32
MAX_BODY_BYTES = 4096
READ_TIMEOUT_SECONDS = 5.0
CONNECTION_DEADLINE_SECONDS = 10.0
STALE_AFTER_SECONDS = 120.0
"""A main loop that was silent for longer hangs."""

_RETRY_AFTER_SECONDS = "2"
_JSON = "application/json"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    """What the endpoint serves."""

    progress: Progress
    token: str | None
    on_join: OnJoin | None


def public_part(report: ProgressReport) -> ProgressReport:
    """What anyone may read: counts, without samples, messages and locations."""
    return report.model_copy(update={"failures": (), "output": None, "message": None})


class Endpoint(ThreadingHTTPServer):
    """Listens on the first of `addresses` that can be bound."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, addresses: Sequence[str], port: int, resources: Resources) -> None:
        self.resources = resources
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._deadlines: dict[socket.socket, float] = {}
        self._deadlines_lock = threading.Lock()
        for address in addresses:
            self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                super().__init__((address, port), _Handler)
            except OSError:
                if address == addresses[-1]:
                    raise
            else:
                return

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Not HTTPServer.server_bind: it asks the DNS for the host's name, which may take seconds.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._deadlines_lock:
            self._deadlines[request] = time.monotonic() + CONNECTION_DEADLINE_SECONDS
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._deadlines_lock:
                self._deadlines.pop(request, None)
            self._slots.release()

    def service_actions(self) -> None:
        """Cut off those who send or take their bytes one by one."""
        now = time.monotonic()
        with self._deadlines_lock:
            late = [request for request, deadline in self._deadlines.items() if deadline < now]
        for request in late:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - inherited
        # socketserver calls this inside its except clause; its own version prints to stderr.
        _logger.debug("connection ended", extra={"error": repr(sys.exception())})


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"
    timeout = READ_TIMEOUT_SECONDS
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        progress = self.server.resources.progress
        if path in ("/progress", "/metrics") and progress.is_catching_up:
            # A driver that was started again has yet to read what is committed: less than was told.
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, **{"Retry-After": _RETRY_AFTER_SECONDS})
        elif path == "/progress":
            self._answer(HTTPStatus.OK, to_json(public_part(progress.report())), _JSON)
        elif path == "/metrics":
            self._answer(HTTPStatus.OK, render(progress.report()).encode(), CONTENT_TYPE)
        elif path == "/livez":
            self._answer_livez(progress)
        elif path == "/join":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, Allow="POST")
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/progress", "/metrics", "/livez"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET")
        elif path != "/join":
            self._refuse(HTTPStatus.NOT_FOUND)
        elif not self._has_small_body():
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif not self._has_token():
            self._refuse(HTTPStatus.FORBIDDEN)
        else:
            self._answer_join()

    def _answer_livez(self, progress: Progress) -> None:
        silent_seconds = progress.seconds_since_beat()
        alive = silent_seconds < STALE_AFTER_SECONDS
        text = "ok\n" if alive else f"the main loop has been silent for {silent_seconds:.0f} s\n"
        status = HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, text.encode(), "text/plain; charset=utf-8")

    def _answer_join(self) -> None:
        on_join = self.server.resources.on_join
        answer = on_join() if on_join is not None else None
        if answer is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, **{"Retry-After": _RETRY_AFTER_SECONDS})
        else:
            self._answer(HTTPStatus.OK, json.dumps(dict(answer)).encode(), _JSON)

    def _has_small_body(self) -> bool:
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            return False
        return int(length) <= MAX_BODY_BYTES and len(self.rfile.read(int(length))) == int(length)

    def _has_token(self) -> bool:
        token = self.server.resources.token
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if token is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode(), token.encode())

    def _refuse(self, status: HTTPStatus, **headers: str) -> None:
        body = f"{status.value} {status.phrase}\n".encode()
        self._answer(status, body, "text/plain; charset=utf-8", **headers)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        # One request a connection: idle clients must not hold the few threads there are.
        common = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        hardening = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        for name, value in (common | hardening | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # The standard phrase replaces `message`, which quotes what the client sent.
        del message
        unsupported = code == HTTPStatus.NOT_IMPLEMENTED
        self.close_connection = True
        super().send_error(HTTPStatus.METHOD_NOT_ALLOWED if unsupported else code, None, explain)

    def version_string(self) -> str:
        return "bij"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited name
        _logger.debug("request", extra={"request": format % args})
