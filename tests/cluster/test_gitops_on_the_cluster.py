"""Jobs under GitOps: judged right in every state that they really have, and never written back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from testkit.checkout import ROOT
from testkit.cluster.api_server import Manifest, RequestFailed
from testkit.cluster.local import LocalCluster
from testkit.cluster.namespaces import Namespace
from testkit.cluster_jobs import KIND, ClusterJob, HeldJob, make_cluster_job
from testkit.deadlines import wait_for
from testkit.gitops_health import argo_health, kstatus_of
from testkit.helm import find_kind, helm_of
from testkit.status_recorder import StatusRecorder

EXAMPLES = ROOT / "examples" / "gitops"
OVERLAYS = EXAMPLES / "jobs" / "overlays"
FOR_TOOLS = (
    "argo-cd/jobs.yaml",
    "argo-cd/operator.yaml",
    "flux/kustomizations.yaml",
    "flux/operator/release.yaml",
)
GOES_ON = ("Progressing", "InProgress")
JUDGEMENTS = {
    None: GOES_ON,
    "Pending": GOES_ON,
    "Queued": GOES_ON,
    "Starting": GOES_ON,
    "Running": GOES_ON,
    "Finalizing": GOES_ON,
    "Succeeded": ("Healthy", "Current"),
    "Failed": ("Degraded", "Failed"),
    "Suspended": ("Suspended", "Current"),
}
"""What Argo CD and kstatus say of a job that the operator has seen as it is now, by its phase."""

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def job(namespace: Namespace, tmp_path: Path) -> ClusterJob:
    return make_cluster_job(namespace, tmp_path)


@contextmanager
def judged(job: ClusterJob, *phases: str) -> Iterator[None]:
    """Record a job, which must come through some phases, and hold both tools to each state."""
    with StatusRecorder(job) as recorder:
        yield
    seen = [found for found in recorder.objects if found["kind"] == "BatchInferenceJob"]
    assert set(phases) <= set(recorder.phases)
    found = list(zip([argo_health(item)[0] for item in seen], kstatus_of(seen), strict=True))
    assert found == [expected_of(item) for item in seen]


def expected_of(job: dict[str, Any]) -> tuple[str, str]:
    status = job["status"]
    is_seen = status["observedGeneration"] == job["metadata"]["generation"]
    return JUDGEMENTS[status.get("phase")] if is_seen else GOES_ON


def test_a_job_that_is_suspended_resumed_and_done(held_job: HeldJob) -> None:
    with judged(held_job, "Starting", "Running", "Suspended", "Succeeded"):
        held_job.apply()
        held_job.go_on_to(1)
        held_job.wait_for_reason("Running")
        held_job.change(suspend=True)
        held_job.wait_for_condition("Suspended")
        held_job.change(suspend=False)
        held_job.finish()


def test_a_job_whose_store_falls_silent_while_it_publishes(
    namespace: Namespace, tmp_path: Path, local_cluster: LocalCluster
) -> None:
    """Append publishes everything at the end, and so many files that the silence falls there."""
    job = make_cluster_job(namespace, tmp_path, rows=1_200, shards=6)
    job.spec["output"] |= {"mode": "Append", "partitionBy": ["id"]}

    def is_publishing() -> bool:
        return any(job.on_s3.out.list(skip="_bij"))

    with judged(job, "Finalizing", "Succeeded"):
        job.apply()
        wait_for(is_publishing, seconds=120, what="a published file", every_seconds=0.02)
        with local_cluster.component("s3").paused():
            wait_for(
                lambda: job.status()["phase"] == "Finalizing",
                seconds=30,
                what="Finalizing",
                explain=job.explain,
            )
        job.wait_until_complete()


def test_a_job_that_waits_in_a_queue(job: ClusterJob) -> None:
    job.spec["workers"]["nodeSelector"] = {"kubernetes.io/hostname": "not-yet"}
    with judged(job, "Pending", "Queued"):
        job.apply()
        job.wait_for_reason("Unschedulable")
        (run,) = job.jobs()
        suspend = '{"spec": {"suspend": true}}'  # as Kueue's webhook does
        job.kubectl("patch", "job", run["metadata"]["name"], "--type=merge", "-p", suspend)
        job.wait_for_reason("Queued")


def test_a_job_that_fails_and_one_that_is_not_allowed(job: ClusterJob) -> None:
    job.spec["input"]["storageUris"] = [job.spec["input"]["storageUris"][0] + "nothing-here/"]
    with judged(job, "Failed"):
        job.apply()
        job.wait_for_condition("Failed", reason="InputNotFound")
    job.name = "not-allowed"
    job.spec["workers"]["image"] = "registry.example/anything"
    with judged(job, "Failed"):
        job.apply()
        job.wait_for_condition("Failed", reason="NotAllowed")


def test_nothing_drifts_and_nothing_runs_again(job: ClusterJob) -> None:
    """Two tools apply the same manifest before and after the run: no conflict, no difference."""
    job.labels = {"team": "scoring"}
    manifest = json.dumps(job.manifest())

    def as_manager(command: str, manager: str) -> None:
        flags = ("--server-side", f"--field-manager={manager}")
        job.kubectl(command, *flags, "-f", "-", stdin=manifest)  # diff fails if there is one

    as_manager("apply", "argocd-controller")
    job.wait_until_complete()  # diff reads the job twice, and the status of one that runs changes
    before = job.get()
    as_manager("diff", "argocd-controller")
    for manager in ("argocd-controller", "kustomize-controller", "argocd-controller"):
        as_manager("apply", manager)
        as_manager("diff", manager)
    after = job.get()
    assert after["status"] == before["status"]
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == 1
    assert managers_of(job) == {
        ("argocd-controller", None),
        ("kustomize-controller", None),
        ("batch-inference-operator", "status"),
    }
    assert [found["status"]["run"]["number"] for found in (before, after)] == [1, 1]


def managers_of(job: ClusterJob) -> set[tuple[str, str | None]]:
    """Who has written fields of a job, and below which subresource."""
    printed = job.kubectl("get", KIND, job.name, "-o", "json", "--show-managed-fields")
    entries = json.loads(printed)["metadata"]["managedFields"]
    return {(entry["manager"], entry.get("subresource")) for entry in entries}


def test_a_ttl_takes_the_pods_and_leaves_the_resource(job: ClusterJob) -> None:
    """A resource that went would be created again by GitOps, and run again."""
    job.spec["ttlSecondsAfterFinished"] = 0
    job.apply()
    job.wait_until_complete()
    job.kubectl("wait", "job", "--all", "--for=delete", "--timeout=30s")
    assert job.kubectl.find(KIND, job.name) is not None
    assert argo_health(job.get())[0] == "Healthy"


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_the_example_repository_is_what_the_api_server_accepts(
    namespace: Namespace, overlay: str
) -> None:
    rendered = yaml.safe_load_all(namespace.kubectl("kustomize", str(OVERLAYS / overlay)))
    own, job = sorted(rendered, key=lambda found: found["kind"], reverse=True)
    assert own["kind"] == "Namespace"
    assert job["metadata"]["namespace"] == own["metadata"]["name"]
    job["metadata"]["namespace"] = namespace.name
    namespace.kubectl.apply(job, dry_run=True)


def example_for_tools(path: str, namespace: Namespace) -> list[Manifest]:
    """The manifests of a file, in the test's namespace instead of the tool's."""
    manifests = list(yaml.safe_load_all((EXAMPLES / path).read_text()))
    for found in manifests:
        found["metadata"]["namespace"] = namespace.name
    return manifests


@pytest.mark.usefixtures("foreign_kinds")
@pytest.mark.parametrize("path", FOR_TOOLS)
def test_the_examples_for_argo_cd_and_flux_are_what_their_schemas_accept(
    namespace: Namespace, path: str
) -> None:
    manifests = example_for_tools(path, namespace)
    namespace.kubectl.apply(*manifests, dry_run=True)
    for found in manifests:
        found["spec"]["misspelt"] = True
        with pytest.raises(RequestFailed, match="misspelt"):
            namespace.kubectl.apply(found, dry_run=True)


def test_the_patch_for_argo_cd_applies_as_its_readme_says(namespace: Namespace) -> None:
    namespace.kubectl("create", "configmap", "argocd-cm")
    patch = EXAMPLES / "argo-cd" / "argocd-cm.yaml"
    namespace.kubectl("patch", "configmap", "argocd-cm", f"--patch-file={patch}")


@pytest.mark.parametrize(
    ("path", "kind", "keys"),
    [
        ("argo-cd/operator.yaml", "Application", ("source", "helm", "valuesObject")),
        ("flux/operator/release.yaml", "HelmRelease", ("values",)),
    ],
    ids=["Argo CD", "Flux"],
)
def test_the_chart_accepts_the_values_of_the_examples(
    namespace: Namespace, path: str, kind: str, keys: tuple[str, ...]
) -> None:
    (found,) = find_kind(example_for_tools(path, namespace), kind)
    values = reduce(getitem, keys, found["spec"])
    assert helm_of(namespace.cluster).render(values, namespace=namespace.name)
