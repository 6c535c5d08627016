"""How long a small job takes on the test cluster, from `kubectl apply` to each step.

    python tests/benchmarks/bench_cluster.py --jobs 5

It runs on the cluster of `make cluster`, or starts one. Steps are counted from the moment apply is
called: the pod's container runs (the kubelet says so in whole seconds), the status shows rows, the
job is complete. `own` is what the runner needed from its process start to its first scored row.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from testkit.cluster.namespaces import fresh_namespace
from testkit.cluster.provider import chosen_cluster
from testkit.cluster_jobs import ClusterJob, make_cluster_job
from testkit.operator_installation import install
from testkit.status_recorder import StatusRecorder

STEPS = ("container runs", "rows shown", "complete", "own first row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5)
    jobs = parser.parse_args().jobs
    with chosen_cluster() as cluster, fresh_namespace(cluster, "bench") as namespace:
        install(cluster)
        measured = [_measure(_make_job(namespace, number)) for number in range(jobs)]
    for step, seconds in zip(STEPS, zip(*measured, strict=True), strict=True):
        each = " ".join(f"{one:.2f}" for one in seconds)
        print(f"{step:>15}: median {statistics.median(seconds):5.2f} s of {each}")


def _make_job(namespace, number: int) -> ClusterJob:
    job = make_cluster_job(namespace, Path(tempfile.mkdtemp()), rows=100_000, shards=4)
    job.name = f"job-{number}"
    job.spec["workers"]["resources"] = {
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "limits": {"memory": "1536Mi"},
    }
    return job


def _measure(job: ClusterJob) -> tuple[float, float, float, float]:
    with StatusRecorder(job) as recorder:
        wall, began = datetime.now(UTC), time.monotonic()
        job.apply()
        job.wait_until_complete()
    (pod,) = job.pods()
    started = pod["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"]
    timed = list(zip(recorder.arrivals, recorder.seen, strict=True))
    rows = next(at for at, status in timed if _rows_of(status) > 0)
    complete = next(at for at, status in timed if status.get("phase") == "Succeeded")
    timings = job.on_s3.manifest()["run"]["timings"]
    return (
        (datetime.fromisoformat(started) - wall).total_seconds(),
        rows - began,
        complete - began,
        timings["firstRowSeconds"],
    )


def _rows_of(status: dict) -> int:
    return status.get("progress", {}).get("rowsProcessed", 0)


if __name__ == "__main__":
    main()
