"""The chart as platform teams and tenants use it: install, test, upgrade, roll back, uninstall."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testkit.checkout import ROOT
from testkit.cluster.kubectl import Kubectl
from testkit.cluster.namespaces import Namespace, fresh_namespace
from testkit.cluster.provider import Cluster
from testkit.cluster_jobs import KIND, make_cluster_job
from testkit.helm import CHART, HelmFailed, Release, helm_of, image_value
from testkit.images import OPERATOR, RUNNER, built_image
from testkit.operator_installation import DEPLOYMENT, Operator
from testkit.tenants import make_tenant


@pytest.fixture(scope="module", autouse=True)
def _alone(operator: Operator) -> Iterator[None]:
    """The CRD, and no other operator that would run these tests' jobs too."""
    with operator.down():
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


def operator_pod(kubectl: Kubectl) -> str:
    (pod,) = kubectl.list("pods", f"--selector=app.kubernetes.io/name={DEPLOYMENT}")
    return pod["metadata"]["uid"]


def test_a_tenant_without_cluster_rights_installs_tests_and_uninstalls(
    tenant: Release, namespace: Namespace, tmp_path: Path
) -> None:
    notes = tenant.install("--set=test.job=true")
    assert f"runs the jobs of {namespace.name}" in notes
    assert f"helm test {tenant.name} --namespace {namespace.name}" in notes
    told = tenant.test()
    assert "ok  the API server answers, the CRD is there, and no right is missing" in told
    assert f"ok  the job {namespace.name}/{DEPLOYMENT}-test has run" in told
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
    tenant.install()
    role = '[{"op": "replace", "path": "/rules/4/verbs", "value": ["get"]}]'
    tenant.kubectl("patch", "role", DEPLOYMENT, "--type=json", "-p", role)
    with pytest.raises(HelmFailed) as failed:
        tenant.test()
    for missing in ("create services", "create secrets"):
        assert f"FAILED  the right to {missing} in {tenant.namespace} is missing" in str(
            failed.value
        )


def test_a_run_goes_on_through_upgrade_and_rollback(
    tenant: Release, namespace: Namespace, tmp_path: Path
) -> None:
    tenant.install()
    job = make_cluster_job(namespace, tmp_path, rows=160_000, shards=160, slow=True).apply()
    job.wait_for_shards(2)
    pods = [uid_of(pod) for pod in job.pods()]
    first = operator_pod(namespace.kubectl)
    tenant.upgrade(logLevel="debug")
    second = operator_pod(namespace.kubectl)
    tenant.rollback()
    third = operator_pod(namespace.kubectl)
    assert len({first, second, third}) == 3
    assert job.status()["phase"] == "Running", "the job was through before the operators changed"
    job.wait_until_complete()
    job.assert_exact()
    assert [uid_of(pod) for pod in job.pods()] == pods
    assert job.status()["run"] == {**job.status()["run"], "number": 1, "attempt": 1}


def uid_of(found: dict[str, Any]) -> str:
    return found["metadata"]["uid"]


def previous_chart(folder: Path) -> Path:
    """This chart with the CRD of version 0.1.0, as if it were an older one."""
    chart = shutil.copytree(CHART, folder / "previous")
    (crd,) = (chart / "files" / "crds").iterdir()
    shutil.copy(ROOT / "tests" / "data" / "crd-0.1.0.yaml", crd)
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("\nversion: 0.1.0\n", "\nversion: 0.0.9\n"))
    return chart


def test_an_upgrade_of_operator_and_crd_for_all_namespaces_keeps_what_runs(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, images: dict[str, Any]
) -> None:
    """The CRD of this cluster is there already, so the release takes it over, and leaves it."""
    with fresh_namespace(cluster, "platform") as platform:
        values = {**images, "fullnameOverride": platform.name}
        chart = previous_chart(tmp_path)
        release = Release(helm_of(cluster), platform.kubectl, values, chart=chart)
        try:
            notes = release.install("--take-ownership", "--force-conflicts")
            assert "runs the jobs of every namespace" in notes
            job = make_cluster_job(namespace, tmp_path, rows=45_000, shards=45, slow=True).apply()
            job.wait_for_shards(2)
            replace(release, chart=CHART).upgrade("--force-conflicts")
            assert job.status()["phase"] == "Running", "the job was through before the upgrade"
            job.wait_until_complete()
            job.assert_exact()
            assert job.status()["run"] == {**job.status()["run"], "number": 1, "attempt": 1}
            release.test()
            assert len(objects_of(release, "clusterroles,clusterrolebindings")) == 5
        finally:
            release.uninstall()
        assert objects_of(release, "clusterroles,clusterrolebindings") == []
        assert namespace.kubectl.find(KIND, job.name) is not None, "the CRD went with the release"


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
    namespace.kubectl("wait", f"crd/{name}", "--for=condition=Established", "--timeout=30s")
    try:
        release.uninstall()
        assert (namespace.kubectl.find("crd", name) is not None) is keep
    finally:
        namespace.kubectl("delete", "crd", name, "--ignore-not-found")
