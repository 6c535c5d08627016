"""Whatever is killed or stopped while a job runs, its rows come out exactly once."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from testkit.cluster.local import LocalCluster
from testkit.cluster.namespaces import Namespace
from testkit.cluster.node import Node
from testkit.cluster_invariants import assert_invariants
from testkit.cluster_jobs import ClusterJob, HeldJob, make_cluster_job
from testkit.deadlines import wait_for
from testkit.operator_installation import Operator
from testkit.pod_processes import drivers_of, scorers_of, supervised_processes, supervisor_of
from testkit.processes import kill
from testkit.soak import scaled
from testkit.status_recorder import StatusRecorder

ROWS = scaled(60_000, soak=2_000_000)
KILLS = scaled(10, soak=60)
POD_KILLS = scaled(1, soak=5)
PAUSE_SECONDS = scaled(2, soak=6)
OUTAGE_SECONDS = scaled(3, soak=60)

pytestmark = pytest.mark.usefixtures("operator")


def running_head(job: ClusterJob) -> dict:
    return wait_for(job.head, seconds=60, what="a running index 0", explain=job.explain)


@pytest.mark.soak
def test_processes_and_pods_are_killed_at_random_and_the_run_goes_on(
    operator: Operator, namespace: Namespace, tmp_path: Path
) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=ROWS, shards=ROWS // 1000, slow=True)
    job.spec["workers"]["replicas"] = 2
    chance, kills, pods = random.Random(4), 0, 0
    with StatusRecorder(job) as recorder:
        job.apply()
        job.wait_for_shards(1)
        while job.condition("Complete").get("status") != "True" and kills < KILLS:
            time.sleep(chance.uniform(0.3, PAUSE_SECONDS))
            victims = [pid for pod in job.pods() for pid in supervised_processes(pod)]
            if chance.random() < 0.1:
                kills += min(1, operator.kill())
            elif kills * (POD_KILLS + 1) >= (pods + 1) * KILLS and job.pods():
                name = chance.choice(job.pods())["metadata"]["name"]
                job.kubectl("delete", "pod", name, "--grace-period=0", "--force")
                pods += 1
            elif victims:
                kills += kill(chance.choice(victims), signal.SIGKILL)
        job.wait_until_complete(seconds=2400)
    print(f"over {ROWS} rows, {kills} processes and {pods} pods were killed")
    assert (kills, pods) == (KILLS, POD_KILLS), "the run was through before the last kill"
    assert_invariants(job, recorder)


def test_a_driver_that_is_stopped_is_restarted_in_its_pod(held_job: HeldJob) -> None:
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        held_job.go_on_to(3)
        head = running_head(held_job)
        (driver,) = drivers_of(head)
        kill(driver, signal.SIGSTOP)
        held_job.finish(seconds=240)
    assert held_job.status()["run"]["attempt"] >= 2
    assert held_job.status()["run"]["number"] == 1
    assert_invariants(held_job, recorder)


def test_a_container_that_is_killed_is_replaced_by_a_new_pod(held_job: HeldJob) -> None:
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        held_job.go_on_to(3)
        kill(supervisor_of(running_head(held_job)), signal.SIGKILL)
        held_job.finish(seconds=240)
    assert held_job.status()["run"]["number"] == 1
    assert_invariants(held_job, recorder)


def test_scorers_that_are_killed_cost_no_pod(held_job: HeldJob) -> None:
    held_job.apply()
    killed: set[int] = set()
    for committed in range(2, 7):
        held_job.go_on_to(committed)
        head = running_head(held_job)
        scorers = wait_for(
            lambda head=head: set(scorers_of(head)) - killed, seconds=60, what="another scorer"
        )
        killed.update(scorer for scorer in scorers if kill(scorer))
    held_job.finish()
    assert len(killed) >= 5
    assert len(held_job.pods()) == 1
    assert_invariants(held_job)


def test_an_evicted_pod_is_replaced_and_not_counted(held_job: HeldJob) -> None:
    held_job.spec["backoffLimit"] = 0
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        held_job.go_on_to(3)
        evict(held_job, running_head(held_job)["metadata"]["name"])
        held_job.finish(seconds=240)
    assert_invariants(held_job, recorder)


def test_the_operator_that_is_killed_finds_the_job_where_it_is(
    operator: Operator, held_job: HeldJob
) -> None:
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        held_job.go_on_to(2)
        restarts = operator.restarts()
        assert operator.kill() > 0
        wait_for(lambda: operator.restarts() > restarts, seconds=60, what="another operator")
        held_job.finish(seconds=180)
    assert_invariants(held_job, recorder)


def test_a_job_that_ends_while_the_operator_is_down_is_told_when_it_is_back(
    operator: Operator, held_job: HeldJob
) -> None:
    held_job.apply()
    held_job.go_on_to(1)
    with operator.down():
        held_job.gate.open()
        wait_for(
            lambda: "_SUCCESS" in {info.key for info in held_job.on_s3.out.list(skip="_bij")},
            seconds=120,
            what="the result",
        )
    held_job.wait_until_complete()
    assert_invariants(held_job)


@pytest.mark.soak
def test_the_api_server_may_be_gone_for_a_while(
    held_job: HeldJob, local_cluster: LocalCluster
) -> None:
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        held_job.go_on_to(1)
        with local_cluster.component("kube-apiserver").stopped():
            time.sleep(OUTAGE_SECONDS)
            held_job.go_on_to(30)
        local_cluster.wait_for_api_server()
        held_job.finish()
    assert_invariants(held_job, recorder)


def test_the_kubelet_may_be_gone_for_a_while(
    held_job: HeldJob, local_cluster: LocalCluster
) -> None:
    held_job.apply()
    held_job.go_on_to(1)
    with local_cluster.component("node-1/kubelet").stopped():
        held_job.go_on_to(20)
    held_job.finish()
    assert_invariants(held_job)


def test_a_pod_that_runs_out_of_memory_is_told_with_advice(
    namespace: Namespace, tmp_path: Path
) -> None:
    """The limit is too small for a driver, even after its scorer was killed in its place."""
    job = make_cluster_job(namespace, tmp_path)
    job.spec["workers"]["resources"] = {"limits": {"memory": "24Mi", "cpu": "500m"}}
    job.spec["backoffLimit"] = 0
    job.apply()
    found = job.wait_for_condition("Failed", seconds=180)
    assert found["reason"] == "BackoffLimitExceeded"
    assert "OOMKilled" in found["message"]
    assert "spec.workers.resources.limits.memory" in found["message"]


def test_a_lost_node_ends_in_a_new_run_elsewhere(
    held_job: HeldJob, local_cluster: LocalCluster, second_node: Node
) -> None:
    """The zombie wakes up when the next run is through, and changes nothing."""
    local_cluster.kubectl("cordon", "node-1")
    try:
        with StatusRecorder(held_job) as recorder:
            held_job.apply()
            held_job.go_on_to(3)
            local_cluster.kubectl("uncordon", "node-1")
            with second_node.frozen():
                held_job.wait_for_reason("NodeLost", seconds=240)
                held_job.finish(seconds=240)
    finally:
        local_cluster.kubectl("uncordon", "node-1")
    assert held_job.status()["run"]["number"] == 2
    assert_invariants(held_job, recorder)


def evict(job: ClusterJob, pod: str) -> None:
    body = (
        '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"'
        f'{pod}","namespace":"{job.namespace.name}"'
        "}}"
    )
    path = f"/api/v1/namespaces/{job.namespace.name}/pods/{pod}/eviction"
    job.kubectl("create", "--raw", path, "-f", "-", stdin=body)
