"""Several workers on one machine score, keep strangers out and leave nothing behind."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from batch_inference_runner.schedule.ray_processes import environment, free_ports, start_head
from testkit.deadlines import wait_for
from testkit.exactness import assert_exact, markers_of
from testkit.members import HOST, Members, Workload, kill_member, make_workload, processes_of_ray
from testkit.processes import command_of, descendants_of, kill

pytestmark = pytest.mark.ray

ROWS = 60_000
SHARD_ROWS = 500
METADATA = (b"169.254.169.254", b"metadata.google.internal")
"""Where Ray looks which cloud it is in, to keep it to itself."""
PROXIES = ("grpc_proxy", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy")
CONNECT = (
    "import ray; ray.init(address='{address}', _node_ip_address='127.0.0.1', log_to_driver=False)"
)


@pytest.fixture(scope="module")
def workload(tmp_path_factory) -> Workload:
    folder = tmp_path_factory.mktemp("workload")
    hidden = (2048, 2048, 2048, 2048)
    return make_workload(folder, rows=ROWS, shard_rows=SHARD_ROWS, hidden=hidden)


@pytest.fixture
def job(workload, tmp_path):
    return workload.job(tmp_path, shard_rows=SHARD_ROWS)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(monkeypatch):
    folder = tempfile.mkdtemp(dir="/tmp", prefix="b")  # short, because Ray's sockets lie in it
    monkeypatch.setenv("TMPDIR", folder)
    yield
    wait_for(lambda: not processes_of_ray(), seconds=5, what="the end of Ray's processes")
    wait_for(
        lambda: not list(Path(folder).glob("bij-ray-*")), seconds=2, what="the removal of folders"
    )
    shutil.rmtree(folder)


def test_a_second_worker_scores_and_all_is_exact(job, workload):
    run = job.start("--workers", "2", "--progress-port", "18080")
    observer = Members(job, port=18080, driver=run)
    try:
        observer.wait_ready(2)
        assert run.wait(300) == 0
    finally:
        kill_member(run)
    assert_exact(job, workload.scores)


@pytest.mark.parametrize("process", ["ray start", "gcs_server", "raylet/raylet"])
def test_a_run_that_is_interrupted_while_ray_comes_up_ends_soon(job, process):
    run = job.start("--workers", "2")
    wait_for(
        lambda: any(process in command for command in processes_of_ray().values()),
        seconds=90,
        what=f"the start of {process}",
        every_seconds=0.01,
    )
    kill(run.pid, signal.SIGINT)
    began = time.monotonic()
    assert run.wait(30) == 130
    assert time.monotonic() - began < 10


def test_a_killed_driver_leaves_nothing_behind(job):
    run = job.start("--workers", "2")
    wait_for(
        lambda: any("raylet/raylet" in command for command in processes_of_ray().values()),
        seconds=90,
        what="the start of a Ray node",
    )
    kill(run.pid)
    run.wait()


def test_ray_refuses_who_has_no_token(tmp_path):
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(secrets.token_hex(32))
    (port,) = free_ports("127.0.0.1", 1)
    head = start_head(ip="127.0.0.1", port=port, token_path=str(tmp_path / "right"))
    try:
        wait_for(lambda: is_open(port), seconds=90, what="the start of the head")
        right = connect(port, environment(str(tmp_path / "right")))
        strangers = [
            connect(port, environment(str(tmp_path / "wrong"))),
            connect(port, {"RAY_AUTH_MODE": "disabled"}),
        ]
        assert right.wait(120) == 0
        assert all(stranger.wait(120) != 0 for stranger in strangers)
        assert head.is_running
    finally:
        head.stop()


def test_the_token_is_needed_to_join_and_shown_to_nobody(job):
    members = Members(job)
    members.start_driver()
    try:
        wait_for(lambda: bool(members.progress()), seconds=20, what="the progress server")
        assert members.join(token=None) in (401, 403)
        assert members.join(token="0" * 64) in (401, 403)
        members.start_worker()
        members.wait_ready(2)
        for process in (members.driver, *members.workers):
            for pid in [process.pid, *descendants_of(process.pid)]:
                assert members.token not in command_of(pid)
                assert members.token not in environment_of(pid)
        assert members.token not in members.log.read_text()
    finally:
        members.close()
    assert markers_of(job)


def test_members_do_not_talk_through_a_proxy(job):
    """Neither Ray's gRPC nor the question where to join; and nobody tells its makers anything."""
    with listening() as (url, heard):
        members = Members(job, variables=dict.fromkeys(PROXIES, url))
        members.start_driver()
        members.start_worker()
        try:
            members.wait_ready(2)
        finally:
            members.close()
    assert [line for line in heard if not any(name in line for name in METADATA)] == []


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a proxy that connects nobody, and the first line of all that it is asked."""
    heard: list[bytes] = []

    class Deaf(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            heard.append(self.rfile.readline())

    with socketserver.ThreadingTCPServer((HOST, 0), Deaf) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://{HOST}:{server.server_address[1]}", heard
        server.shutdown()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def connect(port: int, variables: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CONNECT.format(address=f"127.0.0.1:{port}")],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
