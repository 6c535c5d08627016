"""What users and other controllers do to a job while it runs, and what remains afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_inference_api.pod_contract import PERMANENT_EXIT_CODES
from testkit.cluster.kubectl import KubectlFailed
from testkit.cluster.namespaces import Namespace, fresh_namespace
from testkit.cluster.provider import Cluster
from testkit.cluster_invariants import assert_invariants, assert_nothing_is_left
from testkit.cluster_jobs import INDEX_LABEL, KIND, SMALL_POD, ClusterJob, make_cluster_job
from testkit.deadlines import wait_for
from testkit.operator_installation import Operator
from testkit.soak import scaled
from testkit.status_recorder import StatusRecorder

CYCLES = scaled(2, soak=10)

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def slow_job(namespace: Namespace, tmp_path: Path) -> ClusterJob:
    return make_cluster_job(namespace, tmp_path, rows=30_000, shards=60, slow=True)


@pytest.mark.soak
def test_suspending_takes_the_pods_and_resuming_goes_on(slow_job: ClusterJob) -> None:
    with StatusRecorder(slow_job) as recorder:
        slow_job.apply()
        for cycle in range(CYCLES):
            slow_job.wait_for_shards(3 * (cycle + 1))
            slow_job.change(suspend=True)
            slow_job.wait_for_condition("Suspended")
            assert [pod for pod in slow_job.pods() if _is_live(pod)] == []
            committed = slow_job.on_s3.markers()
            slow_job.change(suspend=False)
        slow_job.wait_until_complete()
    after = slow_job.on_s3.markers()
    assert {key: after[key] for key in committed} == committed, "a shard was scored again"
    assert slow_job.status()["run"]["number"] == CYCLES + 1
    assert_invariants(slow_job, recorder)


def test_what_was_changed_while_suspended_holds_though_nobody_saw_the_suspension(
    operator: Operator, slow_job: ClusterJob
) -> None:
    slow_job.apply()
    slow_job.wait_for_shards(1)
    with operator.down():
        slow_job.change(suspend=True)
        slow_job.change(workers={"resources": {"requests": {"cpu": "150m"}}})
        slow_job.change(suspend=False)
    slow_job.wait_until_complete()
    (run,) = slow_job.jobs()
    (container,) = run["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "150m"
    assert slow_job.status()["run"]["number"] == 2


def test_a_job_grows_and_shrinks_while_it_runs(namespace: Namespace, tmp_path: Path) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=100_000, shards=200, slow=True)
    job.spec["workers"]["resources"] = {**SMALL_POD, "requests": {"cpu": "400m", "memory": "512Mi"}}
    with StatusRecorder(job) as recorder:
        job.apply()
        job.wait_for_shards(1)
        for workers in (2, 1):
            job.change(workers={"replicas": workers})
            _wait_for_pods(job, workers, ready=workers)
        # On a busy machine the run may be over before the new ones have joined.
        job.change(workers={"replicas": 3})
        _wait_for_pods(job, 3, ready=1)
        job.wait_until_complete(seconds=300)
    assert job.status()["run"]["number"] == 1
    assert_invariants(job, recorder)


def _wait_for_pods(job: ClusterJob, live: int, *, ready: int) -> None:
    def are_there() -> bool:
        pods = [pod for pod in job.pods() if _is_live(pod)]
        return len(pods) == live and job.status()["workers"]["ready"] >= ready

    what = f"{live} pods of which {ready} score"
    wait_for(are_there, seconds=180, what=what, explain=job.explain)
    assert job.jobs()[0]["spec"]["parallelism"] == live


def test_a_job_that_is_deleted_while_it_runs_leaves_nothing(slow_job: ClusterJob) -> None:
    slow_job.apply()
    slow_job.wait_for_shards(1)
    slow_job.kubectl("delete", KIND, slow_job.name)
    assert_nothing_is_left(slow_job)


def test_a_job_is_deleted_while_the_operator_is_down(
    operator: Operator, slow_job: ClusterJob
) -> None:
    slow_job.apply()
    slow_job.wait_for_shards(1)
    with operator.down():
        slow_job.kubectl("delete", KIND, slow_job.name)
        assert_nothing_is_left(slow_job)


@pytest.mark.parametrize("is_up", [True, False], ids=["operator up", "operator down"])
def test_a_namespace_with_a_running_a_failing_and_a_finished_job_goes(
    operator: Operator, cluster: Cluster, tmp_path: Path, is_up: bool
) -> None:
    with fresh_namespace(cluster, "goes") as doomed:
        jobs = [_named_job(doomed, tmp_path, name) for name in ("finished", "running", "failing")]
        finished, running, failing = jobs
        failing.spec["model"]["storageUri"] += ".missing"
        running.spec["sharding"] = {"targetRowsPerShard": 10}
        for job in jobs:
            job.apply()
        finished.wait_until_complete()
        failing.wait_for_condition("Failed")
        running.wait_for_shards(1)
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
    with pytest.raises(KubectlFailed, match=r"output cannot change once the job exists"):
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


def test_two_jobs_on_one_output_do_not_mix(namespace: Namespace, tmp_path: Path) -> None:
    first = make_cluster_job(namespace, tmp_path, rows=20_000, shards=40, slow=True).apply()
    first.wait_for_shards(1)
    second = ClusterJob(namespace, first.on_s3, first.rows, name="second")
    second.apply()
    second.wait_for_condition("Failed", reason="OutputPathClaimed")
    first.wait_until_complete()
    assert_invariants(first)


def test_a_deadline_ends_the_job_with_a_report(namespace: Namespace, tmp_path: Path) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=200_000, shards=400, slow=True)
    job.spec["activeDeadlineSeconds"] = 15
    job.apply()
    found = job.wait_for_condition("Failed", reason="DeadlineExceeded")
    assert "the run took longer than spec.activeDeadlineSeconds" in found["message"], (
        "not the driver"
    )
    assert job.status()["progress"]["rowsProcessed"] > 0
    assert exit_code_of_head(job) in PERMANENT_EXIT_CODES


def exit_code_of_head(job: ClusterJob) -> int:
    (head,) = [pod for pod in job.pods() if pod["metadata"]["labels"][INDEX_LABEL] == "0"]
    return head["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]


def _named_job(namespace: Namespace, folder: Path, name: str) -> ClusterJob:
    own = folder / f"{namespace.name}-{name}"
    own.mkdir()
    job = make_cluster_job(namespace, own, rows=20_000, shards=40, slow=name == "running")
    job.name = name
    return job


def _is_live(pod: dict) -> bool:
    return pod["status"].get("phase") not in ("Succeeded", "Failed")
