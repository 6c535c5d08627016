"""Serves `/progress`, `/metrics`, `/livez` and `/join` while a run lasts.

The first three give counts only, never a path or a row, so they need no authentication. `/join`
tells a worker how to reach the run, and only those who hold the run's token.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch_inference_runner.progress.counters import Progress
    from batch_inference_runner.progress.http_endpoint import Endpoint

    OnJoin = Callable[[], Mapping[str, Any] | None]

ANY_HOST = "*"
_POLL_SECONDS = 0.1
"""How long closing may take, and how often deadlines are looked at."""


class ProgressServer:
    """An HTTP server in daemon threads; it never keeps the process alive.

    `host` is an address or `ANY_HOST`; with `port` 0 a free one is chosen. `on_join` returns what a
    worker needs to know, or None as long as it has to come back later.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        host: str,
        port: int,
        token: str | None = None,
        on_join: OnJoin | None = None,
    ) -> None:
        self._progress = progress
        self._host = host
        self._port = port
        self._token = token
        self._on_join = on_join
        self._endpoint: Endpoint | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        # http.server costs 20 ms to import, which only those who serve should pay.
        from batch_inference_runner.progress.http_endpoint import Endpoint, Resources

        resources = Resources(progress=self._progress, token=self._token, on_join=self._on_join)
        self._endpoint = Endpoint(self._addresses(), self._port, resources)
        self._port = self._endpoint.server_address[1]
        self._thread = threading.Thread(
            target=self._endpoint.serve_forever,
            args=(_POLL_SECONDS,),
            name="bij-progress-server",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop open connections. Safe to call twice."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None and self._thread is not None:
            endpoint.shutdown()
            endpoint.server_close()
            self._thread.join(timeout=2)

    def _addresses(self) -> tuple[str, ...]:
        if self._host != ANY_HOST:
            return (self._host,)
        return ("::", "0.0.0.0") if socket.has_dualstack_ipv6() else ("0.0.0.0",)  # noqa: S104 - pods
