"""A worker asks its driver where to join: directly, and nobody else hears the run's token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_runner.schedule import worker
from batch_inference_runner.schedule.worker import NotInvited, ask_to_join
from testkit.commits import make_config

TOKEN = "t0ken-of-the-run"
INVITATION = b'{"address": "10.0.0.1:6379", "attempt": "a"}'


class Host(ThreadingHTTPServer):
    """Gives every request one answer, and remembers whose token it was shown."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.body, self.headers = status, body, headers
        self.heard: list[tuple[str, str, str | None]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Host

    def do_POST(self) -> None:
        self.server.heard.append((self.command, self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        for name, value in {**self.server.headers, "Content-Length": len(self.server.body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(self.server.body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(host: Host) -> Iterator[Host]:
    Thread(target=host.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield host
    finally:
        host.shutdown()
        host.server_close()


def config_of(tmp_path: Path, address: str) -> RunnerConfig:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    config = make_config()
    run = {"head_address": address, "token_path": str(tmp_path / "token")}
    return config.model_copy(update={"run": config.run.model_copy(update=run)})


def test_a_worker_is_told_where_to_join(tmp_path: Path) -> None:
    with served(Host(200, INVITATION)) as driver:
        invitation = ask_to_join(config_of(tmp_path, driver.address))
    assert invitation == {"address": "10.0.0.1:6379", "attempt": "a"}
    assert driver.heard == [("POST", "/join", f"Bearer {TOKEN}")]


def test_a_proxy_of_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(Host(200, INVITATION)) as driver, served(Host(200, b"{}")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert ask_to_join(config_of(tmp_path, driver.address)) is not None
    assert proxy.heard == []


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    other = Host(200, INVITATION)
    driver = Host(status, Location=f"http://{other.address}/join")
    with served(other), served(driver), pytest.raises(NotInvited, match=f"answered {status}"):
        ask_to_join(config_of(tmp_path, driver.address))
    assert other.heard == []


REFUSALS = {
    "a driver that comes up": (503, b"", "answered 503 Service Unavailable"),
    "another run's driver": (403, b"", "answered 403 Forbidden"),
    "an answer that is cut short": (200, b'{"addr', "JSONDecodeError"),
}


@pytest.mark.parametrize(("status", "body", "why"), REFUSALS.values(), ids=REFUSALS)
def test_who_is_not_let_in_asks_again_later(
    tmp_path: Path, status: int, body: bytes, why: str
) -> None:
    with served(Host(status, body)) as driver, pytest.raises(NotInvited, match=why):
        ask_to_join(config_of(tmp_path, driver.address))


def test_a_driver_that_is_not_there_is_asked_again_later(tmp_path: Path) -> None:
    with pytest.raises(NotInvited, match="Connection refused"):
        ask_to_join(config_of(tmp_path, "127.0.0.1:1"))


class Stop(Event):
    """Is set after so many waits; `now` is the time as far as those who wait on it know."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.left = waits
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        self.now += timeout or 0
        return self.left < 0


def test_a_worker_that_cannot_join_says_why_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop = Stop(waits=60)
    monkeypatch.setattr(worker, "monotonic", lambda: stop.now)
    worker.run(config_of(tmp_path, "127.0.0.1:1"), stop, ip="127.0.0.1")
    told = [(record.address, record.why) for record in caplog.records]
    assert [address for address, _ in told] == ["127.0.0.1:1"] * 2
    assert all("Connection refused" in why for _, why in told)
