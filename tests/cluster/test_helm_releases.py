"""The chart as platform teams and tenants use it: install, test, upgrade, roll back, uninstall."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch_inference_runner.version import VERSION
from testkit import previous_release
from testkit.cluster.namespaces import Namespace, fresh_namespace
from testkit.cluster.provider import Cluster
from testkit.cluster_jobs import KIND, HeldJob, make_cluster_job
from testkit.helm import CHART, CRD_FILE, HelmFailed, Release, helm_of, image_value
from testkit.images import OPERATOR, RUNNER, built_image
from testkit.operator_installation import DEPLOYMENT, Operator
from testkit.tenants import bind, make_tenant, may, user_roles, wait_until_allowed


@pytest.fixture(scope="module", autouse=True)
def _alone(operator: Operator, cluster: Cluster) -> Iterator[None]:
    """The CRD, roles for users, and no other operator that would run these tests' jobs too."""
    with operator.down(), user_roles(helm_of(cluster), cluster.kubectl):
        yield


@pytest.fixture(scope="module")
def images(cluster: Cluster) -> dict[str, Any]:
    """Values for the product's images, which are on the nodes."""
    operator, runner = built_image(OPERATOR), built_image(RUNNER)
    for image in (operator, runner):
        cluster.load_image(image.archive, image.name)
    return {"image": image_value(operator.name), "runner": {"image": image_value(runner.name)}}


@pytest.fixture
def tenant(namespace: Namespace, tmp_path: Path, images: dict[str, Any]) -> Release:
    """A release that a tenant may install into their namespace, for jobs of that namespace."""
    helm = replace(helm_of(namespace.cluster), kubeconfig=make_tenant(namespace, tmp_path))
    values = {**images, "watchNamespaces": [namespace.name], "crds": {"install": False}}
    return Release(helm, namespace.kubectl, values)


def objects_of(release: Release, kinds: str) -> list[str]:
    """What there is of a release, in its namespace and in the cluster."""
    selector = f"--selector=app.kubernetes.io/instance={release.name}"
    return release.kubectl("get", kinds, selector, "-o", "name").split()


JOBS = "batchinferencejobs.batchinference.dev"
STATUS = f"{JOBS}/status"
READ = [(verb, JOBS) for verb in ("get", "list", "watch")]
WRITE = [(verb, JOBS) for verb in ("create", "update", "patch", "delete", "deletecollection")]
WRITE_STATUS = [(verb, STATUS) for verb in ("update", "patch")]
RIGHTS_OF_USERS = {
    "view": READ,
    "edit": READ + WRITE,
    "admin": READ + WRITE + WRITE_STATUS,
}


@pytest.mark.parametrize(("role", "rights"), RIGHTS_OF_USERS.items(), ids=RIGHTS_OF_USERS)
def test_a_binding_to_a_role_of_the_cluster_is_all_that_a_team_needs(
    namespace: Namespace, role: str, rights: list[tuple[str, str]]
) -> None:
    kubectl = namespace.kubectl
    bind(kubectl, role=role, to="--user=somebody")
    wait_until_allowed(kubectl, *rights[-1], user="somebody")
    asked = READ + WRITE + WRITE_STATUS
    assert [right for right in asked if may(kubectl, *right, user="somebody")] == rights
    elsewhere = kubectl.within("default")
    assert [right for right in asked if may(elsewhere, *right, user="somebody")] == []


KINDS_OF_THE_TEST = ("pod", "configmap", KIND)


def left_by_the_test(release: Release) -> list[str]:
    """The kinds of what there is of `helm test`."""
    name = f"{DEPLOYMENT}-test"
    return [kind for kind in KINDS_OF_THE_TEST if release.kubectl.find(kind, name) is not None]


def test_a_tenant_without_cluster_rights_installs_tests_and_uninstalls(
    tenant: Release, namespace: Namespace, tmp_path: Path
) -> None:
    notes = tenant.install("--set=test.job=true")
    assert f"runs the jobs of {namespace.name}" in notes
    assert f"helm test {tenant.name} --namespace {namespace.name}" in notes
    told = tenant.test()
    assert "ok  the API server answers, the CRD is there, and no right is missing" in told
    assert f"ok  the job {namespace.name}/{DEPLOYMENT}-test has run" in told
    assert left_by_the_test(tenant) == []
    job = make_cluster_job(namespace, tmp_path).apply()
    job.wait_until_complete()
    job.assert_exact()
    tenant.uninstall()
    assert objects_of(tenant, "deployments,services,roles,rolebindings,networkpolicies") == []
    assert job.status()["phase"] == "Succeeded"


def test_a_tenant_may_not_install_for_the_whole_cluster(tenant: Release) -> None:
    with pytest.raises(HelmFailed, match=r"clusterroles.* is forbidden"):
        tenant.install("--set-json=watchNamespaces=[]")


def test_helm_test_names_the_right_that_is_missing(tenant: Release) -> None:
    tenant.install("--set=test.job=true")
    role = '[{"op": "replace", "path": "/rules/4/verbs", "value": ["get"]}]'
    tenant.kubectl("patch", "role", DEPLOYMENT, "--type=json", "-p", role)
    with pytest.raises(HelmFailed) as failed:
        tenant.test()
    for missing in ("create services", "create secrets"):
        assert f"FAILED  the right to {missing} in {tenant.namespace} is missing" in str(
            failed.value
        )
    assert left_by_the_test(tenant) == list(KINDS_OF_THE_TEST), "nothing is left to look at"


@pytest.fixture
def platform(cluster: Cluster, images: dict[str, Any]) -> Iterator[Release]:
    """A release for all namespaces, in a namespace of its own."""
    with fresh_namespace(cluster, "platform") as created:
        values = {**images, "fullnameOverride": created.name}
        yield Release(helm_of(cluster), created.kubectl, values)


@contextmanager
def previous_release_of(platform: Release) -> Iterator[Release]:
    """Install version 0.1.0: chart, CRD and code. Its CRD takes the place of today's meanwhile."""
    values = {**platform.values, **previous_release.with_its_code(platform.kubectl)}
    previous = replace(platform, chart=previous_release.CHART, values=values)
    try:
        notes = previous.install("--take-ownership", "--force-conflicts")
        assert "runs the jobs of every namespace" in notes
        yield previous
    finally:
        previous.uninstall()
        previous.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD_FILE))


def running_version(release: Release) -> str:
    """The version of the code that the operator's container runs."""
    deployment = f"deployment/{release.values['fullnameOverride']}"
    printed = release.kubectl("exec", deployment, "--", DEPLOYMENT, "--version")
    return printed.split()[-1]


def uids_of(pods: list[dict[str, Any]]) -> list[str]:
    return [pod["metadata"]["uid"] for pod in pods]


def test_a_run_outlives_an_upgrade_from_the_previous_version_and_a_rollback_to_it(
    platform: Release, namespace: Namespace, held_job: HeldJob
) -> None:
    with previous_release_of(platform) as previous:
        versions = [running_version(platform)]
        held_job.apply()
        held_job.go_on_to(2)
        pods = uids_of(held_job.pods())
        platform.upgrade("--force-conflicts")
        versions.append(running_version(platform))
        held_job.go_on_to(4)
        previous.rollback("--force-conflicts")
        assert held_job.status()["phase"] == "Running"  # neither through already, nor begun anew
        held_job.finish(seconds=240)
        versions.append(running_version(platform))
        assert versions == [previous_release.VERSION, VERSION, previous_release.VERSION]
        held_job.assert_exact()
        assert uids_of(held_job.pods()) == pods
        done = held_job.status()
        assert done["run"] == {**done["run"], "number": 1, "attempt": 1}
        platform.upgrade("--force-conflicts", test={"job": True})
        assert "has run" in platform.test()
        assert held_job.status() == done, "what was done before the upgrade is left alone"
        assert len(objects_of(platform, "clusterroles,clusterrolebindings")) == 5
    assert objects_of(platform, "clusterroles,clusterrolebindings") == []
    assert namespace.kubectl.find(KIND, held_job.name) is not None, "the CRD went with the release"


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_jobs_outlive_the_release_only_if_the_crd_is_kept(
    namespace: Namespace, tmp_path: Path, keep: bool
) -> None:
    """With a CRD of another group: without this cluster's own, no other test could go on."""
    group = f"{namespace.name}.example"
    chart = shutil.copytree(CHART, tmp_path / "chart")
    (crd,) = (chart / "files" / "crds").iterdir()
    crd.write_text(crd.read_text().replace("batchinference.dev", group))
    values = {"crds": {"keep": keep}, "watchNamespaces": [namespace.name]}
    release = Release(helm_of(namespace.cluster), namespace.kubectl, values, chart=chart)
    release.helm(
        "install", release.name, str(chart), f"--namespace={namespace.name}", values=values
    )
    name = f"batchinferencejobs.{group}"
    namespace.kubectl.wait_until_established(f"crd/{name}")
    try:
        release.uninstall()
        assert (namespace.kubectl.find("crd", name) is not None) is keep
    finally:
        namespace.kubectl("delete", "crd", name, "--ignore-not-found")
