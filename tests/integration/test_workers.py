"""Several workers on one machine: they score, they keep strangers out, they leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_inference_runner.schedule.ray_processes import environment
from testkit.exactness import assert_exact, markers_of
from testkit.members import Members, Workload, make_workload, processes_of_ray
from testkit.processes import command_of, descendants_of, kill, wait_until

pytestmark = pytest.mark.ray

ROWS = 60_000
SHARD_ROWS = 500
CONNECT = (
    "import ray; ray.init(address='{address}', _node_ip_address='127.0.0.1', log_to_driver=False)"
)


@pytest.fixture(scope="module")
def workload(tmp_path_factory) -> Workload:
    folder = tmp_path_factory.mktemp("workload")
    hidden = (2048, 2048, 1024)
    return make_workload(folder, rows=ROWS, shard_rows=SHARD_ROWS, hidden=hidden)


@pytest.fixture
def job(workload, tmp_path):
    return workload.job(tmp_path, shard_rows=SHARD_ROWS)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = leftovers()
    yield
    wait_until(lambda: not processes_of_ray(), seconds=5, what="the end of Ray's processes")
    wait_until(lambda: leftovers() <= before, seconds=2, what="the removal of temporary folders")


def leftovers() -> set[str]:
    found = [*Path("/tmp").glob("bij-ray-*"), *Path("/tmp/ray").glob("session_2*")]
    return {str(path) for path in found}


def test_a_second_worker_scores_and_all_is_exact(job, workload):
    run = job.start("--workers", "2", "--progress-port", "18080")
    observer = Members(job, port=18080)
    observer.port, observer.driver = 18080, run
    observer.wait_ready(2)
    assert run.wait(120) == 0
    assert_exact(job, workload.scores)


@pytest.mark.parametrize("seconds", [0.7, 2.0, 3.5])
def test_a_run_that_is_interrupted_while_ray_comes_up_ends_soon(job, seconds):
    run = job.start("--workers", "2")
    time.sleep(seconds)
    kill(run.pid, signal.SIGINT)
    began = time.monotonic()
    assert run.wait(30) == 130
    assert time.monotonic() - began < 5


def test_a_killed_driver_leaves_nothing_behind(job):
    run = job.start("--workers", "2")
    wait_until(
        lambda: any("raylet/raylet" in command for command in processes_of_ray().values()),
        seconds=30,
        what="the start of a Ray node",
    )
    kill(run.pid)
    run.wait()


def test_strangers_are_kept_out(job):
    members = Members(job)
    members.start_driver()
    try:
        assert members.join(token=None) in (401, 403) if wait_for_server(members) else False
        assert members.join(token="0" * 64) in (401, 403)
        members.start_worker()
        members.wait_ready(2)
        (head,) = members.find("gcs_server", below=members.driver)
        address = gcs_address(head)
        wrong = job.folder / "wrong"
        wrong.write_text("f" * 64)
        assert connect(address, environment(str(wrong))) != 0
        assert connect(address, {"RAY_AUTH_MODE": "disabled"}) != 0
        assert connect(address, environment(str(members.token_path))) == 0
        for process in (members.driver, *members.workers):
            for pid in [process.pid, *descendants_of(process.pid)]:
                assert members.token not in command_of(pid)
                assert members.token not in environment_of(pid)
        assert members.token not in members.log.read_text()
        assert members.driver.poll() is None
    finally:
        members.close()
    assert markers_of(job)


def wait_for_server(members: Members) -> bool:
    wait_until(lambda: bool(members.progress()), seconds=20, what="the progress server")
    return True


def gcs_address(pid: int) -> str:
    (port,) = [
        word.partition("=")[2]
        for word in command_of(pid).split()
        if word.startswith("--gcs_server_port=")
    ]
    return f"127.0.0.1:{port}"


def environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def connect(address: str, variables: dict[str, str]) -> int:
    return subprocess.run(
        [sys.executable, "-c", CONNECT.format(address=address)],
        env={**os.environ, **variables},
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode
