"""A supervisor that stands still is replaced with its pod, because it answers no probe."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from testkit.cluster.namespaces import Namespace
from testkit.cluster_invariants import assert_invariants
from testkit.cluster_jobs import make_cluster_job
from testkit.deadlines import wait_for
from testkit.pod_processes import drivers_of, supervisor_of
from testkit.processes import kill

pytestmark = pytest.mark.usefixtures("operator")


def test_a_supervisor_that_is_stopped_is_replaced_with_its_pod(
    namespace: Namespace, tmp_path: Path
) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=30_000, shards=100, slow=True)
    job.apply()
    job.wait_for_shards(3)
    head = wait_for(job.head, seconds=60, what="a running index 0", explain=job.explain)
    (driver,) = drivers_of(head)
    kill(driver, signal.SIGSTOP)
    kill(supervisor_of(head), signal.SIGSTOP)
    job.wait_until_complete(seconds=300)
    assert job.status()["run"]["number"] == 1
    assert_invariants(job)
