"""Workers, nodes, agents and the head are killed: no row lost, none twice, and the run goes on."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

import pytest

from testkit.deadlines import wait_for
from testkit.exactness import assert_exact, markers_of
from testkit.members import Members, Workload, kill_member, make_workload, processes_of_ray
from testkit.processes import descendants_of, kill, scorers_below

pytestmark = pytest.mark.ray

ROWS = 60_000
SHARD_ROWS = 500
END_SECONDS = 300


@pytest.fixture(scope="module")
def workload(tmp_path_factory) -> Workload:
    folder = tmp_path_factory.mktemp("workload")
    hidden = (2048, 2048, 2048, 2048)
    return make_workload(folder, rows=ROWS, shard_rows=SHARD_ROWS, hidden=hidden)


@pytest.fixture(params=[False])
def members(workload, tmp_path, request):
    job = workload.job(tmp_path, shard_rows=SHARD_ROWS)
    job.spec["backoffLimitPerShard"] = 100  # here everything is killed, not only what it crashes
    members = Members(job, supervised=request.param)
    yield members
    members.close()
    wait_for(lambda: not processes_of_ray(), seconds=5, what="the end of Ray's processes")


def assert_committed_only_once(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    assert {key: after[key] for key in before} == before, "a committed shard was scored again"


def test_a_killed_driver_starts_again_and_its_worker_joins_again(members, workload):
    members.start_driver()
    members.start_worker()
    members.wait_ready(2)
    before = markers_of(members.job)
    kill_member(members.driver)
    members.start_driver()
    members.wait_ready_or_ended(2)
    assert members.driver.wait(END_SECONDS) == 0, members.log.read_text()[-3000:]
    assert_committed_only_once(before, markers_of(members.job))
    assert_exact(members.job, workload.scores)


@pytest.mark.parametrize("members", [True], indirect=True, ids=["pods"])
def test_a_killed_driver_and_a_killed_worker_are_replaced_inside_their_pods(members, workload):
    members.start_driver()
    members.start_worker()
    members.wait_ready(2)
    before = markers_of(members.job)
    (worker,) = members.workers
    for pod in (worker, members.driver):
        kill(members.child_of(pod))
    members.wait_ready_or_ended(2)
    assert members.driver.wait(END_SECONDS) == 0, members.log.read_text()[-3000:]
    assert worker.poll() is None, "a worker's pod ends with its Job, never before"
    assert_committed_only_once(before, markers_of(members.job))
    assert_exact(members.job, workload.scores)


def test_a_killed_head_is_replaced_while_the_driver_goes_on_scoring(members, workload):
    members.start_driver()
    members.start_worker()
    members.wait_ready(2)
    (head,) = members.find("gcs_server", below=members.driver)
    kill(head)
    wait_for(lambda: members.ready < 2, seconds=60, what="the loss of the worker")
    committed = len(markers_of(members.job))
    wait_for(
        lambda: len(markers_of(members.job)) > committed, seconds=60, what="a commit without a head"
    )
    members.wait_ready_or_ended(2)
    assert members.driver.wait(END_SECONDS) == 0, members.log.read_text()[-3000:]
    assert_exact(members.job, workload.scores)


def test_a_worker_that_stands_still_loses_its_shards_and_comes_back(members, workload):
    members.start_driver()
    members.start_worker()
    members.wait_ready(2)
    (worker,) = members.workers
    stopped = [worker.pid, *descendants_of(worker.pid)]
    for pid in stopped:
        kill(pid, signal.SIGSTOP)
    wait_for(lambda: members.ready < 2, seconds=60, what="the loss of the worker")
    for pid in stopped:
        kill(pid, signal.SIGCONT)
    members.wait_ready_or_ended(2)
    assert members.driver.wait(END_SECONDS) == 0, members.log.read_text()[-3000:]
    assert_exact(members.job, workload.scores)


def test_more_than_twenty_kills_of_anything(members, workload):
    chance = random.Random(20261122)
    members.start_driver()
    for _ in range(2):
        members.start_worker()
    members.wait_ready(3)
    kills: Counter[str] = Counter()
    committed, last = 0, time.monotonic()
    while members.driver.poll() != 0 and kills.total() < 24:
        time.sleep(0.05)
        now = len(markers_of(members.job))
        if now < committed + 2 and time.monotonic() < last + 1.5:
            continue
        committed, last = now, time.monotonic()
        victim = chance.choice(("scorer", "agent", "raylet", "worker", "worker", "driver scorer"))
        kills[victim] += kill_one(members, victim, chance)
    assert kills.total() > 20, kills
    assert members.driver.wait(END_SECONDS) == 0, members.log.read_text()[-3000:]
    assert_exact(members.job, workload.scores)


def kill_one(members: Members, victim: str, chance: random.Random) -> bool:
    worker = chance.choice(members.workers)
    if victim == "worker":
        members.workers.remove(worker)
        kill_member(worker)
        members.start_worker()
        return True
    if victim == "driver scorer":
        return bool([pid for pid in scorers_below(members.driver.pid) if kill(pid)])
    word = {"scorer": "score.process", "agent": "ray::Agent", "raylet": "raylet/raylet"}[victim]
    return bool([pid for pid in members.find(word, below=worker) if kill(pid)])
