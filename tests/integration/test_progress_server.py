"""The HTTP side of a run, over real sockets on the loopback interface."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from batch_inference_api.runner_contract import JobIdentity, OutputReport, RunPhase
from batch_inference_runner.progress import http_endpoint
from batch_inference_runner.progress.counters import Progress
from batch_inference_runner.progress.server import ANY_HOST, ProgressServer

TOKEN = "t0ken-of-the-run"


class Joins:
    def __init__(self) -> None:
        self.answer: dict[str, str] | None = {"address": "10.0.0.1:6379"}
        self.calls = 0

    def __call__(self) -> dict[str, str] | None:
        self.calls += 1
        return self.answer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    progress = Progress(JobIdentity(name="churn"), clock=clock)
    progress.planned(shards=2, rows=10)
    progress.phase(RunPhase.RUNNING)
    return progress


@pytest.fixture
def joins() -> Joins:
    return Joins()


@pytest.fixture
def server(progress: Progress, joins: Joins) -> Iterator[ProgressServer]:
    server = ProgressServer(progress, host="127.0.0.1", port=0, token=TOKEN, on_join=joins)
    server.start()
    yield server
    server.close()


def ask(
    server: ProgressServer, method: str, path: str, *, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def test_progress_holds_counts_and_never_a_path_or_a_message(
    server: ProgressServer, progress: Progress
) -> None:
    sample = {"file": "s3://secret/path", "stage": "Bind", "error": "E", "message": "secret"}
    progress.committed(0, written=4, rejected=1, filtered=0, samples=[sample])
    progress.output(OutputReport(storage_uri="s3://secret/out/"))
    progress.finish(RunPhase.FAILED, reason="RowRejected", message="row 3 of secret")
    status, headers, body = ask(server, "GET", "/progress?x=1")
    report = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert (report["rows"]["processed"], report["reason"], report["final"]) == (
        5,
        "RowRejected",
        True,
    )
    assert b"secret" not in body


def test_metrics_are_served_as_prometheus_text(server: ProgressServer) -> None:
    status, headers, body = ask(server, "GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"bij_rows_planned 10\n" in body


def test_livez_fails_when_the_main_loop_is_silent(
    server: ProgressServer, progress: Progress, clock: Clock
) -> None:
    assert ask(server, "GET", "/livez")[0] == 200
    clock.now += http_endpoint.STALE_AFTER_SECONDS + 1
    assert ask(server, "GET", "/livez")[0] == 503
    progress.beat()
    assert ask(server, "GET", "/livez")[0] == 200


def test_those_who_hold_the_token_may_join(server: ProgressServer) -> None:
    status, _, body = ask(server, "POST", "/join", body=b"", Authorization=f"Bearer {TOKEN}")
    assert (status, json.loads(body)) == (200, {"address": "10.0.0.1:6379"})


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"],
)
def test_others_may_not_join_and_are_not_asked_for(
    server: ProgressServer, joins: Joins, header: str
) -> None:
    assert ask(server, "POST", "/join", Authorization=header)[0] == 403
    assert joins.calls == 0


def test_a_run_without_a_token_lets_nobody_join(progress: Progress) -> None:
    server = ProgressServer(progress, host="127.0.0.1", port=0, on_join=dict)
    server.start()
    assert ask(server, "POST", "/join", Authorization="Bearer ")[0] == 403
    server.close()


def test_who_joins_too_early_is_told_to_come_back(server: ProgressServer, joins: Joins) -> None:
    joins.answer = None
    status, headers, _ = ask(server, "POST", "/join", Authorization=f"Bearer {TOKEN}")
    assert status == 503
    assert int(headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/progress/../etc/passwd", 404),
        ("POST", "/elsewhere", 404),
        ("POST", "/progress", 405),
        ("GET", "/join", 405),
        ("PUT", "/progress", 405),
        ("DELETE", "/metrics", 405),
    ],
)
def test_everything_else_is_refused(
    server: ProgressServer, method: str, path: str, status: int
) -> None:
    assert ask(server, method, path)[0] == status


def test_a_large_body_is_refused_unread(server: ProgressServer, joins: Joins) -> None:
    body = b"x" * (http_endpoint.MAX_BODY_BYTES + 1)
    assert ask(server, "POST", "/join", body=body, Authorization=f"Bearer {TOKEN}")[0] == 413
    assert joins.calls == 0


def test_idle_connections_are_bounded_and_cut_off(
    server: ProgressServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_endpoint, "CONNECTION_DEADLINE_SECONDS", 0.2)
    idle = [
        socket.create_connection(("127.0.0.1", server.port), timeout=10)
        for _ in range(http_endpoint.MAX_CONNECTIONS + 5)
    ]
    started = time.monotonic()
    assert [connection.recv(1) for connection in idle] == [b""] * len(idle)
    assert time.monotonic() - started < http_endpoint.READ_TIMEOUT_SECONDS
    assert ask(server, "GET", "/progress")[0] == 200
    for connection in idle:
        connection.close()


def test_a_taken_port_is_an_error_and_closing_frees_it(
    server: ProgressServer, progress: Progress
) -> None:
    second = ProgressServer(progress, host="127.0.0.1", port=server.port)
    with pytest.raises(OSError, match="in use"):
        second.start()
    server.close()
    second.start()
    assert ask(second, "GET", "/progress")[0] == 200
    second.close()


def test_all_addresses_include_the_loopback(progress: Progress) -> None:
    server = ProgressServer(progress, host=ANY_HOST, port=0)
    server.start()
    assert ask(server, "GET", "/progress")[0] == 200
    server.close()


@pytest.mark.parametrize("path", ["/progress", "/metrics"])
def test_a_driver_that_was_started_again_tells_nothing_less_than_the_one_before(path):
    progress = Progress(JobIdentity(name="churn"), attempt=2, processed=7)
    server = ProgressServer(progress, host="127.0.0.1", port=0)
    server.start()
    try:
        progress.planned(shards=2, rows=10)
        assert ask(server, "GET", path)[0] == 503
        assert ask(server, "GET", "/livez")[0] == 200
        progress.resumed([])
        assert ask(server, "GET", path)[0] == 200
    finally:
        server.close()
