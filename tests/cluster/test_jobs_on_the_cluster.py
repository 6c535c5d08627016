"""A job from `kubectl apply` to its result: one pod and several."""

from __future__ import annotations

from pathlib import Path

import pytest

from testkit.cluster.namespaces import Namespace
from testkit.cluster_invariants import assert_invariants, assert_nothing_is_left
from testkit.cluster_jobs import KIND, HeldJob, make_cluster_job
from testkit.deadlines import wait_for
from testkit.status_recorder import StatusRecorder


@pytest.mark.usefixtures("operator")
def test_a_job_of_one_pod_scores_every_row_once(namespace: Namespace, tmp_path: Path) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=10_000)
    with StatusRecorder(job) as recorder:
        job.apply()
        job.wait_until_complete()
    assert_invariants(job, recorder)
    assert recorder.phases[-1] == "Succeeded"
    status = job.status()
    assert status["run"]["number"] == 1
    assert status["model"]["resolvedDigest"].startswith("sha256:")
    assert status["output"]["manifestUri"].endswith("/_SUCCESS")
    table = namespace.kubectl("get", "bij", "job")
    assert "Succeeded" in table
    assert "10.0k/10.0k (100%)" in table
    namespace.kubectl("wait", "bij/job", "--for=condition=Complete", "--timeout=5s")
    namespace.kubectl("delete", KIND, "job")
    assert_nothing_is_left(job)


@pytest.mark.usefixtures("operator")
def test_three_pods_score_one_dataset_together(held_job: HeldJob) -> None:
    held_job.spec["workers"]["replicas"] = 3
    with StatusRecorder(held_job) as recorder:
        held_job.apply()
        wait_for(
            lambda: held_job.status().get("workers", {}).get("ready") == 3,
            seconds=180,
            what="three pods that score",
            explain=held_job.explain,
        )
        held_job.finish(seconds=240)
    assert_invariants(held_job, recorder)
