"""What users and other controllers do to a job while it runs, and what remains afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_inference_api.pod_contract import PERMANENT_EXIT_CODES
from testkit.cluster.api_server import RequestFailed
from testkit.cluster.namespaces import Namespace, fresh_namespace
from testkit.cluster.provider import Cluster
from testkit.cluster_invariants import assert_invariants, assert_nothing_is_left
from testkit.cluster_jobs import (
    INDEX_LABEL,
    KIND,
    ClusterJob,
    HeldJob,
    make_cluster_job,
    make_held_job,
)
from testkit.deadlines import wait_for
from testkit.gate import Gate
from testkit.operator_installation import Operator
from testkit.soak import scaled
from testkit.status_recorder import StatusRecorder

CYCLES = scaled(2, soak=10)

pytestmark = pytest.mark.usefixtures("operator")


@pytest.mark.soak
def test_suspending_takes_the_pods_and_resuming_goes_on(held_job: HeldJob) -> None:
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        for cycle in range(CYCLES):
            held_job.go_on_to(3 * (cycle + 1))
            held_job.change(suspend=True)
            held_job.wait_for_condition("Suspended")
            assert [pod for pod in held_job.pods() if _is_live(pod)] == []
            committed = held_job.on_s3.markers()
            held_job.change(suspend=False)
            held_job.wait_for_run(cycle + 2)
        held_job.finish()
    after = held_job.on_s3.markers()
    assert {key: after[key] for key in committed} == committed, "a shard was scored again"
    assert held_job.status()["run"]["number"] == CYCLES + 1
    assert_invariants(held_job, recorder)


def test_what_was_changed_while_suspended_holds_though_nobody_saw_the_suspension(
    operator: Operator, held_job: HeldJob
) -> None:
    held_job.apply()
    held_job.go_on_to(1)
    with operator.down():
        held_job.change(suspend=True)
        held_job.change(workers={"resources": {"requests": {"cpu": "150m"}}})
        held_job.change(suspend=False)
    held_job.wait_for_run(2)
    held_job.finish()
    (run,) = held_job.jobs()
    (container,) = run["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "150m"


def test_a_job_grows_and_shrinks_while_it_runs(held_job: HeldJob) -> None:
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        held_job.go_on_to(1)
        for workers in (2, 1, 3):
            held_job.change(workers={"replicas": workers})
            _wait_for_workers(held_job, workers)
            held_job.go_on_to(len(held_job.on_s3.markers()) + 5)
        held_job.finish(seconds=300)
    assert held_job.status()["run"]["number"] == 1
    assert_invariants(held_job, recorder)


def _wait_for_workers(job: ClusterJob, count: int) -> None:
    def are_there() -> bool:
        pods = [pod for pod in job.pods() if _is_live(pod)]
        return len(pods) == count and job.status()["workers"]["ready"] == count

    what = f"{count} pods that score"
    wait_for(are_there, seconds=180, what=what, explain=job.explain)
    assert job.jobs()[0]["spec"]["parallelism"] == count


def test_a_job_that_is_deleted_while_it_runs_leaves_nothing(held_job: HeldJob) -> None:
    held_job.apply()
    held_job.go_on_to(1)
    held_job.kubectl("delete", KIND, held_job.name)
    assert_nothing_is_left(held_job)


def test_a_job_is_deleted_while_the_operator_is_down(operator: Operator, held_job: HeldJob) -> None:
    held_job.apply()
    held_job.go_on_to(1)
    with operator.down():
        held_job.kubectl("delete", KIND, held_job.name)
        assert_nothing_is_left(held_job)


@pytest.mark.parametrize("is_up", [True, False], ids=["operator up", "operator down"])
def test_a_namespace_with_a_running_a_failing_and_a_finished_job_goes(
    operator: Operator, cluster: Cluster, gate: Gate, tmp_path: Path, is_up: bool
) -> None:
    with fresh_namespace(cluster, "goes") as doomed:
        finished, failing = (_job_named(name, doomed, tmp_path) for name in ("finished", "failing"))
        failing.spec["model"]["storageUri"] += ".missing"
        finished.apply().wait_until_complete()
        failing.apply().wait_for_condition("Failed")
        running = make_held_job(doomed, tmp_path, gate)
        running.apply()
        running.go_on_to(1)
        with operator.up_or_down(is_up):
            cluster.kubectl("delete", "namespace", doomed.name, "--wait=false")
            wait_for(
                lambda: cluster.kubectl.find("namespace", doomed.name) is None,
                seconds=30,
                what="the namespace to be gone",
                explain=lambda: cluster.kubectl("get", "namespace", doomed.name, "-o", "yaml"),
            )
            cluster.kubectl("create", "namespace", doomed.name)


def test_the_pods_of_a_finished_job_go_after_its_ttl_and_it_never_runs_again(
    namespace: Namespace, tmp_path: Path
) -> None:
    job = make_cluster_job(namespace, tmp_path)
    job.spec["ttlSecondsAfterFinished"] = 3
    job.apply()
    job.wait_until_complete()
    assert_nothing_is_left(job)
    before = job.status()
    job.change(ttlSecondsAfterFinished=100)
    wait_for(
        lambda: job.status()["observedGeneration"] == job.get()["metadata"]["generation"],
        seconds=20,
        what="the edit to be seen",
    )
    namespace.kubectl("wait", "bij/job", "--for=condition=Complete", "--timeout=5s")
    after = job.status()
    assert after["completionTime"] == before["completionTime"]
    assert job.jobs() == []


def test_what_was_computed_from_cannot_change(namespace: Namespace, tmp_path: Path) -> None:
    job = make_cluster_job(namespace, tmp_path).apply()
    with pytest.raises(RequestFailed, match=r"output cannot change once the job exists"):
        job.change(output={"storageUri": "s3://bucket/elsewhere/"})


def test_the_same_manifest_under_a_new_uid_finds_its_result(
    namespace: Namespace, tmp_path: Path
) -> None:
    """GitOps re-creates resources: nothing is scored a second time."""
    job = make_cluster_job(namespace, tmp_path).apply()
    job.wait_until_complete()
    markers = job.on_s3.markers()
    namespace.kubectl("delete", KIND, job.name)
    job.apply()
    job.wait_until_complete()
    assert job.on_s3.markers() == markers
    assert_invariants(job)


def test_a_job_that_has_failed_resumes_once_it_is_deleted_and_applied_again(
    namespace: Namespace, tmp_path: Path
) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=4_000, shards=40)
    job.spec["input"]["filter"] = "1000 // (id - 3500) < 2000"  # fails for one row
    job.spec["errorPolicy"] = {"errorThreshold": 0}
    job.apply()
    job.wait_for_condition("Failed", reason="ErrorThresholdExceeded")
    committed = job.on_s3.markers()
    assert committed
    job.kubectl("delete", KIND, job.name)
    job.spec["errorPolicy"] = {"errorThreshold": 1}
    job.apply()
    job.wait_until_complete()
    after = job.on_s3.markers()
    assert {key: after[key] for key in committed} == committed, "a shard was scored again"
    counts = {"read": 4_000, "written": 3_999, "rejected": 1, "filtered": 0}
    assert job.on_s3.manifest()["counts"] == counts


def test_two_jobs_on_one_output_do_not_mix(held_job: HeldJob) -> None:
    held_job.apply()
    held_job.go_on_to(1)
    second = ClusterJob(held_job.namespace, held_job.on_s3, held_job.rows, name="second")
    second.apply()
    second.wait_for_condition("Failed", reason="OutputPathClaimed")
    held_job.finish()
    assert_invariants(held_job)


def test_a_deadline_ends_the_job_with_a_report(held_job: HeldJob) -> None:
    held_job.spec["activeDeadlineSeconds"] = 15
    held_job.apply()
    held_job.go_on_to(1)
    found = held_job.wait_for_condition("Failed", reason="DeadlineExceeded")
    assert "the run took longer than spec.activeDeadlineSeconds" in found["message"], (
        "not the driver"
    )
    assert held_job.status()["progress"]["rowsProcessed"] > 0
    assert exit_code_of_head(held_job) in PERMANENT_EXIT_CODES


def exit_code_of_head(job: ClusterJob) -> int:
    (head,) = [pod for pod in job.pods() if pod["metadata"]["labels"][INDEX_LABEL] == "0"]
    return head["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]


def _job_named(name: str, namespace: Namespace, folder: Path) -> ClusterJob:
    own = folder / name
    own.mkdir()
    job = make_cluster_job(namespace, own)
    job.name = name
    return job


def _is_live(pod: dict) -> bool:
    return pod["status"].get("phase") not in ("Succeeded", "Failed")
