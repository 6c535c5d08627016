"""A supervisor that stands still is replaced with its pod, because it answers no probe."""

from __future__ import annotations

import signal

import pytest

from testkit.cluster_invariants import assert_invariants
from testkit.cluster_jobs import HeldJob
from testkit.deadlines import wait_for
from testkit.pod_processes import drivers_of, supervisor_of
from testkit.processes import kill

pytestmark = pytest.mark.usefixtures("operator")


def test_a_supervisor_that_is_stopped_is_replaced_with_its_pod(held_job: HeldJob) -> None:
    held_job.apply()
    held_job.go_on_to(3)
    head = wait_for(held_job.head, seconds=60, what="a running index 0", explain=held_job.explain)
    (driver,) = drivers_of(head)
    kill(driver, signal.SIGSTOP)
    kill(supervisor_of(head), signal.SIGSTOP)
    held_job.finish(seconds=300)
    assert held_job.status()["run"]["number"] == 1
    assert_invariants(held_job)
