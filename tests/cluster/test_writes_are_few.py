"""What the operator costs the API server: little while jobs run, nothing when they do not."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from batch_inference_operator.settings import Settings
from testkit.cluster.namespaces import Namespace
from testkit.cluster_jobs import KIND, make_cluster_job
from testkit.deadlines import wait_for
from testkit.manifests import make_manifest
from testkit.operator_installation import Operator
from testkit.operator_metrics import reconciles_of, writes_of
from testkit.status_recorder import StatusRecorder

SETTLED = 200
PROGRESS_SECONDS = Settings().progress_seconds


def test_a_job_costs_four_creates_and_three_writes_beside_its_progress(
    operator: Operator, namespace: Namespace, tmp_path: Path
) -> None:
    job = make_cluster_job(namespace, tmp_path)
    before, began = writes_of(operator), time.monotonic()
    with StatusRecorder(job) as recorder:
        job.apply()
        job.wait_until_complete()
        time.sleep(3)  # whatever would be written after the end is written by now
    writes, seconds = writes_of(operator) - before, time.monotonic() - began
    created = {what: n for (verb, what), n in writes.items() if verb == "create"}
    creates = {what: n for what, n in created.items() if what != "events"}
    assert creates == {"jobs": 1, "services": 1, "secrets": 1, "networkpolicies": 1}
    conditions = [
        tuple((c["type"], c["status"], c["reason"]) for c in status.get("conditions", []))
        for status in recorder.seen
        if status.get("conditions")
    ]
    assert len(set(conditions)) <= 4, conditions
    progress = seconds / PROGRESS_SECONDS + 1
    # A job may be through before it is seen to run.
    assert 2 <= writes["patch", "batchinferencejobs"] <= 3 + progress, writes
    assert writes.get(("delete", "jobs"), 0) == 0


def test_settled_jobs_cost_nothing_not_even_after_a_restart(
    operator: Operator, namespace: Namespace
) -> None:
    manifests = [
        make_manifest(
            {
                "metadata.name": f"settled-{number}",
                "spec.model.storageUri": "s3://bucket/model.onnx",
                "spec.input.storageUris": ["s3://bucket/data/"],
                "spec.output.storageUri": f"s3://bucket/{number}/",
                "spec.workers": {"image": "elsewhere.example/not-allowed:1"},
            }
        )
        for number in range(SETTLED)
    ]
    namespace.kubectl.apply(*manifests)
    wait_for(lambda: len(_failed(namespace)) == SETTLED, seconds=60, what=f"{SETTLED} settled jobs")
    with operator.down():
        pass
    wait_for(lambda: _has_looked(operator), seconds=30, what="the operator to have looked at all")
    assert writes_of(operator) == Counter()


def _failed(namespace: Namespace) -> list[dict]:
    return [
        job
        for job in namespace.kubectl.list(KIND)
        if job.get("status", {}).get("phase") == "Failed"
    ]


def _has_looked(operator: Operator) -> bool:
    return reconciles_of(operator) >= SETTLED
