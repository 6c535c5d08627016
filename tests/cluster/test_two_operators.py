"""Two operators at work at once, without election: jobs end as they do with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testkit.cluster.namespaces import Namespace
from testkit.cluster_invariants import assert_invariants
from testkit.cluster_jobs import ClusterJob, make_cluster_job
from testkit.operator_installation import Operator
from testkit.soak import scaled
from testkit.status_recorder import StatusRecorder

JOBS = 3
ROUNDS = scaled(1, soak=34)


@pytest.fixture(scope="module")
def two_operators(operator: Operator) -> Iterator[None]:
    with operator.changed(replicas=2, BIO_LEADER_ELECTION="false"):
        yield


@pytest.mark.soak
@pytest.mark.usefixtures("two_operators")
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_two_operators_do_no_harm(namespace: Namespace, tmp_path: Path, _round: int) -> None:
    jobs = [_make_job(namespace, tmp_path, number) for number in range(JOBS)]
    with ExitStack() as stack:
        recorders = [stack.enter_context(StatusRecorder(job)) for job in jobs]
        for job in jobs:
            job.apply()
        first = jobs[0]
        first.wait_for_shards(1)
        first.change(suspend=True)
        first.wait_for_condition("Suspended")
        first.change(suspend=False)
        for job in jobs:
            job.wait_until_complete()
    for job, recorder in zip(jobs, recorders, strict=True):
        assert_invariants(job, recorder)
        assert job.status()["run"]["number"] == (2 if job is first else 1)


def _make_job(namespace: Namespace, folder: Path, number: int) -> ClusterJob:
    own = folder / str(number)
    own.mkdir()
    job = make_cluster_job(namespace, own, rows=6_000, shards=20, slow=True)
    job.name = f"job-{number}"
    return job
