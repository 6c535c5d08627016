"""The roles of the chart are enough, and none of their rights is unused: the audit log says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_inference_operator.cluster.rights import (
    JOB_RIGHTS,
    LEASE_RIGHTS,
    NETWORK_POLICY_RIGHTS,
    Right,
)
from batch_inference_operator.names import run_name
from testkit.audit import denied, requests_of, right_of
from testkit.cluster.local import LocalCluster
from testkit.cluster.namespaces import Namespace
from testkit.cluster.pods import busybox_pod
from testkit.cluster.provider import Cluster
from testkit.cluster_jobs import ClusterJob, make_cluster_job
from testkit.deadlines import wait_for
from testkit.helm import CRD_FILE, Release, helm_of, image_value
from testkit.images import OPERATOR, built_image
from testkit.operator_installation import DEPLOYMENT, NAMESPACE
from testkit.roles import rights_of, roles_of

NEEDED = {*JOB_RIGHTS, *NETWORK_POLICY_RIGHTS, *LEASE_RIGHTS}


@pytest.fixture
def release(local_cluster: LocalCluster, namespace: Namespace) -> Release:
    """The operator of one namespace, to be installed; its pods will not find a node."""
    local_cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD_FILE))
    image = built_image(OPERATOR)
    local_cluster.load_image(image.archive, image.name)
    values = {
        "image": image_value(image.name),
        "watchNamespaces": [namespace.name],
        "crds": {"install": False},
    }
    return Release(helm_of(local_cluster), namespace.kubectl, values)


def put_a_job_in_the_way(job: ClusterJob) -> None:
    """Create the Job of a run under its name: the operator has to look whose it is."""
    name = run_name(job.name, job.get()["metadata"]["uid"], 1)
    pod = busybox_pod("unused", "true")["spec"]
    job.kubectl.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"suspend": True, "template": {"spec": {**pod, "restartPolicy": "Never"}}},
        }
    )


def make_room_for_pods(namespace: Namespace, pods: int) -> None:
    namespace.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "room"},
            "spec": {"hard": {"pods": str(pods)}},
        }
    )


@pytest.mark.usefixtures("nobody_else")
def test_every_right_is_used_and_none_is_missing(
    local_cluster: LocalCluster, namespace: Namespace, release: Release, tmp_path: Path
) -> None:
    job = make_cluster_job(namespace, tmp_path)
    job.spec["workers"]["nodeSelector"] = {"kubernetes.io/hostname": "not-there"}
    job.name = "in-the-way"
    put_a_job_in_the_way(job.apply())
    release.install()
    job.wait_for_reason("NameTaken")
    job.name = "waiting"
    job.apply()
    job.wait_for_reason("Unschedulable")
    make_room_for_pods(
        namespace, 3
    )  # the operator's, and two of the job: of the third, events tell
    job.change(workers={"replicas": 3})
    job.wait_for_reason("QuotaExceeded")
    account = account_in(namespace.name)
    log = local_cluster.control_plane.audit_log

    def used() -> set[Right | None]:
        return {right_of(event) for event in requests_of(account, log)} - {None}

    def unused() -> set[str]:
        return {str(right) for right in NEEDED - used()}

    def wait_until_left(rights: set[str]) -> None:
        wait_for(
            lambda: unused() <= rights, seconds=30, what="calls", explain=lambda: str(unused())
        )

    wait_until_left({"delete jobs.batch"})
    job.change(suspend=True)
    wait_until_left(set())
    assert denied(requests_of(account, log)) == set()
    assert used() == NEEDED


def account_in(namespace: str) -> str:
    return f"system:serviceaccount:{namespace}:{DEPLOYMENT}"


@pytest.mark.usefixtures("operator")
def test_the_operator_under_all_tests_has_the_rights_that_it_needs_and_no_other(
    cluster: Cluster,
) -> None:
    roles = roles_of(cluster.kubectl, namespace=NAMESPACE, account=DEPLOYMENT)
    assert rights_of(roles) == sorted(NEEDED)
