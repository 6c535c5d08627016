"""Pods under `bij pod`: whatever happens to what it starts, the run goes on or says why not."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import socket
import time
from functools import partial
from pathlib import Path

import pytest

from testkit.deadlines import wait_for
from testkit.exactness import assert_exact, markers_of
from testkit.members import HOST, Members, Workload, make_workload, processes_of_ray
from testkit.processes import children_of, descendants_of, kill
from testkit.small_jobs import linear_job

pytestmark = pytest.mark.ray

ROWS = 16_000
SHARD_ROWS = 250
END_SECONDS = 240
GRACE_SECONDS = 10
"""A pod's `terminationGracePeriodSeconds`: what is not gone then is killed."""


@pytest.fixture(scope="module")
def workload(tmp_path_factory) -> Workload:
    folder = tmp_path_factory.mktemp("workload")
    return make_workload(folder, rows=ROWS, shard_rows=SHARD_ROWS, hidden=(2048, 2048, 2048))


@pytest.fixture
def pods():
    """Make the pods of a job; what is left of them goes with the test."""
    made: list[Members] = []

    def make(job, *, replicas: int = 1) -> Members:
        made.append(Members(job, replicas=replicas, supervised=True))
        return made[-1]

    yield make
    for members in made:
        members.close()
    wait_for(lambda: not processes_of_ray(), seconds=5, what="the end of Ray's processes")


@pytest.fixture
def first(pods, workload, tmp_path) -> Members:
    """The first pod of a run that takes some seconds, just started."""
    members = pods(workload.job(tmp_path, shard_rows=SHARD_ROWS))
    members.start_driver()
    return members


def report_of(members: Members) -> dict:
    return json.loads(members.report_path.read_text())


def wait_committed(members: Members, count: int) -> None:
    wait_for(
        lambda: len(markers_of(members.job)) >= count or members.driver.poll() is not None,
        seconds=60,
        what=f"{count} committed shards",
    )
    assert members.driver.poll() is None, members.log.read_text()[-3000:]


def wait_for_child(members: Members, pod, *, other_than: int | None = None) -> int:
    wait_for(
        lambda: members.child_of(pod) not in (None, other_than) or pod.poll() is not None,
        seconds=60,
        what="another child",
    )
    assert pod.poll() is None, members.log.read_text()[-3000:]
    return members.child_of(pod)


def ask_livez(port: int, *, seconds: float = 5) -> int | None:
    """Ask as the kubelet does; None if there was no answer in time."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_driver_that_is_killed_again_and_again_ends_exactly(first, workload):
    kills, child = 0, None
    while kills < 8:
        wait_committed(first, 4 * (kills + 1))
        child = wait_for_child(first, first.driver, other_than=child)
        before = markers_of(first.job)
        kills += kill(child)
    assert first.driver.wait(END_SECONDS) == 0, first.log.read_text()[-3000:]
    after = markers_of(first.job)
    assert {key: after[key] for key in before} == before, "a committed shard was scored again"
    assert_exact(first.job, workload.scores)
    report = report_of(first)
    assert (report["phase"], report["final"], report["attempt"]) == ("Succeeded", True, kills + 1)


def test_drivers_that_die_before_they_score_are_counted_too(pods, tmp_path):
    members = pods(linear_job(tmp_path))
    members.start_driver()
    child = None
    for _ in range(2):
        child = wait_for_child(members, members.driver, other_than=child)
        kill(child)
    assert members.driver.wait(END_SECONDS) == 0, members.log.read_text()[-3000:]
    assert report_of(members)["attempt"] == 3


def test_progress_never_goes_back_while_drivers_are_killed(first):
    told: list[tuple[int, int, int]] = []
    for attempt in (1, 2, 3, 4):
        wait_for(partial(is_told, first, told, attempt), seconds=60, what="progress")
        wait_committed(first, 4 * attempt)
        assert is_told(first, told, attempt)
        kill(first.child_of(first.driver))
    for before, after in itertools.pairwise(told):
        assert all(new >= old for new, old in zip(after, before, strict=True)), (before, after)


def is_told(members: Members, told: list[tuple[int, int, int]], attempt: int) -> bool:
    """Note attempt, rows processed and shards committed; whether they are the attempt's own."""
    progress = members.progress()
    if not progress:
        return False
    rows, shards = progress["rows"]["processed"], progress["shards"]["succeeded"]
    told.append((progress["attempt"], rows, shards))
    return progress["attempt"] == attempt and rows > 0


def test_a_driver_that_stands_still_is_replaced(first, workload):
    wait_committed(first, 3)
    driver = first.child_of(first.driver)
    kill(driver, signal.SIGSTOP)
    began = time.monotonic()
    wait_for_child(first, first.driver, other_than=driver)
    assert time.monotonic() - began > 15, "a moment's silence must not kill a driver"
    assert first.driver.wait(END_SECONDS) == 0, first.log.read_text()[-3000:]
    assert_exact(first.job, workload.scores)
    assert report_of(first)["attempt"] == 2


def test_nothing_is_left_of_a_driver_that_was_killed(first):
    wait_committed(first, 3)
    driver = first.child_of(first.driver)
    below = descendants_of(driver)
    assert below
    kill(driver)
    wait_for_child(first, first.driver, other_than=driver)
    assert not [pid for pid in (driver, *below) if Path(f"/proc/{pid}").exists()]
    assert all(state_of(pid) != "Z" for pid in children_of(first.driver.pid))


def test_sigterm_ends_the_pod_in_time_and_the_next_one_resumes(first, workload):
    wait_committed(first, 3)
    below = descendants_of(first.driver.pid)
    kill(first.driver.pid, signal.SIGTERM)
    assert first.driver.wait(GRACE_SECONDS) == 143
    report = report_of(first)
    assert (report["phase"], report["final"]) == ("Interrupted", True)
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
    first.start_driver()
    assert first.driver.wait(END_SECONDS) == 0, first.log.read_text()[-3000:]
    assert_exact(first.job, workload.scores)
    assert report_of(first)["attempt"] == 2, "the output knows of the pod before"


def test_sigterm_ends_a_pod_whose_driver_stands_still(first):
    wait_committed(first, 1)
    below = descendants_of(first.driver.pid)
    kill(first.child_of(first.driver), signal.SIGSTOP)
    kill(first.driver.pid, signal.SIGTERM)
    assert first.driver.wait(GRACE_SECONDS) == 143
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]


def test_a_refused_job_ends_its_pod_at_once(pods, tmp_path):
    job = linear_job(tmp_path)
    members = pods(job)
    (tmp_path / "model.onnx").unlink()
    members.start_driver()
    assert members.driver.wait(60) == 65
    report = report_of(members)
    assert (report["phase"], report["final"], report["reason"], report["attempt"]) == (
        *("Failed", True, "ModelNotFound", 1),
    )


def test_a_deadline_is_the_pods_and_not_each_drivers(pods, workload, tmp_path):
    job = workload.job(tmp_path, shard_rows=SHARD_ROWS)
    job.spec["activeDeadlineSeconds"] = 6
    members = pods(job)
    members.start_driver()
    began = time.monotonic()
    while not has_ended(members) and time.monotonic() < began + 7:
        committed, child = len(markers_of(job)), members.child_of(members.driver)
        wait_for(
            lambda count=committed: len(markers_of(job)) > count or has_ended(members),
            seconds=60,
            what="a commit",
        )
        if child is not None:
            kill(child)
    committed = len(markers_of(job))
    assert members.driver.wait(60) == 70, members.log.read_text()[-3000:]
    assert len(markers_of(job)) == committed, "a driver that was started too late went on"
    report = report_of(members)
    assert (report["reason"], report["final"]) == ("DeadlineExceeded", True)
    assert report["attempt"] > 1


def has_ended(members: Members) -> bool:
    return members.driver.poll() is not None


def test_a_driver_that_never_commits_is_given_up_and_says_why(pods, tmp_path):
    members = pods(linear_job(tmp_path))
    with socket.create_server((HOST, members.port)):
        members.start_driver()
        assert members.driver.wait(120) == 1
    report = report_of(members)
    assert (report["phase"], report["final"], report["attempt"]) == ("Interrupted", False, 6)
    assert "6 times in a row without committing a shard" in report["message"]
    assert "ended with exit code 1" in report["message"]
    assert not (members.job.output / "_SUCCESS").exists()


def test_a_report_is_not_taken_for_the_next_drivers(pods, tmp_path):
    members = pods(linear_job(tmp_path))
    members.report_path.write_text('{"phase": "Succeeded", "final": true}')
    with socket.create_server((HOST, members.port)):
        members.start_driver()
        wait_for(
            lambda: not members.report_path.read_text(), seconds=60, what="the report's removal"
        )


def test_a_config_of_another_contract_is_refused_with_what_to_do(pods, tmp_path):
    members = with_contract(pods(linear_job(tmp_path)), version=99)
    members.start_driver()
    assert members.driver.wait(60) == 65
    report = report_of(members)
    assert (report["phase"], report["final"], report["reason"]) == ("Failed", True, "VersionSkew")
    assert report["job"]["name"] == "job"
    assert "use an operator and a runner image of one release" in report["message"]


def test_a_worker_never_ends_its_pod(pods, tmp_path):
    members = pods(linear_job(tmp_path))
    members.start_worker()
    (pod,) = members.workers
    child = wait_for_child(members, pod)
    for number in (signal.SIGKILL, signal.SIGTERM):
        kill(child, number)
        child = wait_for_child(members, pod, other_than=child)
    kill(pod.pid, signal.SIGTERM)
    assert pod.wait(GRACE_SECONDS) == 143


def test_a_worker_of_another_contract_does_not_fail_the_job(pods, tmp_path):
    members = with_contract(pods(linear_job(tmp_path)), version=99)
    members.start_worker()
    (pod,) = members.workers
    child = wait_for_child(members, pod)
    wait_for_child(members, pod, other_than=child)
    kill(pod.pid, signal.SIGTERM)
    assert pod.wait(GRACE_SECONDS) == 143
    assert "use an operator and a runner image of one release" in members.log.read_text()


def with_contract(members: Members, *, version: int) -> Members:
    config = json.loads(members.config_path.read_text())
    members.config_path.write_text(json.dumps({**config, "contractVersion": version}))
    return members


def test_the_kubelet_is_answered_unless_the_supervisor_stands_still(first):
    port = first.liveness_ports[0]
    wait_for(lambda: ask_livez(port) == 200, seconds=30, what="an answer")
    idle = [socket.create_connection((HOST, port)) for _ in range(100)]
    assert ask_livez(port) == 200, "those who ask nothing must not keep the kubelet out"
    kill(first.child_of(first.driver), signal.SIGSTOP)
    assert ask_livez(port) == 200, "the driver's silence is not the supervisor's"
    kill(first.driver.pid, signal.SIGSTOP)
    assert ask_livez(port, seconds=1) is None
    kill(first.driver.pid, signal.SIGCONT)
    assert ask_livez(port) == 200
    for connection in idle:
        connection.close()
