"""What keeps a job from scoring is told by its status, in words; most of it heals by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testkit.cluster.accelerators import pretended_gpus
from testkit.cluster.local import LocalCluster
from testkit.cluster.namespaces import Namespace
from testkit.cluster_invariants import assert_invariants, assert_nothing_is_left
from testkit.cluster_jobs import ClusterJob, make_cluster_job
from testkit.deadlines import wait_for
from testkit.s3_jobs import SECRET

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def job(namespace: Namespace, tmp_path: Path) -> ClusterJob:
    return make_cluster_job(namespace, tmp_path)


def test_a_pod_without_a_node_is_explained_in_the_schedulers_words(job: ClusterJob) -> None:
    job.spec["workers"]["resources"] = {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}}
    job.spec["execution"] = {"executionProviders": ["CUDAExecutionProvider"]}
    job.apply()
    found = job.wait_for_reason("Unschedulable")
    assert "Insufficient nvidia.com/gpu" in found["message"]
    assert job.status()["phase"] == "Pending"


def test_a_pod_that_no_scheduler_looks_at_is_explained(job: ClusterJob) -> None:
    job.spec["workers"]["schedulerName"] = "nope"
    job.apply()
    assert '"nope" runs' in job.wait_for_reason("Unschedulable")["message"]


def test_a_gpu_pod_runs_where_there_is_one_and_says_when_no_provider_uses_it(
    job: ClusterJob, local_cluster: LocalCluster
) -> None:
    """The node's GPU is a fake: the run must say that nothing of it could be used."""
    job.spec["workers"]["resources"] = {"limits": {"nvidia.com/gpu": 1, "memory": "1536Mi"}}
    job.spec["execution"] = {"executionProviders": ["CUDAExecutionProvider"]}
    with pretended_gpus(local_cluster.kubectl, "node-1", 1):
        job.apply()
        found = job.wait_for_condition("Failed", reason="AcceleratorUnavailable")
    assert "CUDAExecutionProvider" in found["message"]


def test_a_secret_that_is_missing_is_named_and_the_job_starts_when_it_is_there(
    job: ClusterJob,
) -> None:
    secret = job.namespace.cluster.object_storage.secret(SECRET)
    job.kubectl("delete", "secret", SECRET)
    job.apply()
    found = job.wait_for_reason("SecretNotFound")
    assert SECRET in found["message"]
    job.kubectl.apply(secret)
    job.wait_until_complete(seconds=180)
    assert_invariants(job)


def test_a_claim_that_is_missing_is_named(job: ClusterJob) -> None:
    job.spec["model"]["storageUri"] = "pvc://nowhere/model.onnx"
    job.apply()
    assert "nowhere" in job.wait_for_reason("VolumeNotReady")["message"]


def test_an_image_that_cannot_be_pulled_ends_with_the_deadline(job: ClusterJob) -> None:
    job.spec["workers"]["image"] = "allowed.example/no-such-image:1"
    job.spec["preRunningDeadlineSeconds"] = 15
    job.apply()
    job.wait_for_reason("ImagePullFailed")
    found = job.wait_for_condition("Failed", reason="PreRunningDeadlineExceeded")
    assert "no-such-image" in found["message"]
    assert_nothing_is_left(job)


def test_a_quota_is_told_and_the_job_starts_when_there_is_room(job: ClusterJob) -> None:
    job.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "tight"},
            "spec": {"hard": {"requests.memory": "1Mi"}},
        }
    )
    job.apply()
    assert "exceeded quota" in job.wait_for_reason("QuotaExceeded")["message"]
    job.kubectl("delete", "resourcequota", "tight")
    job.wait_until_complete(seconds=180)
    assert_invariants(job)


@pytest.mark.parametrize(("group", "resource"), [("batch", "jobs"), ("", "pods")])
def test_a_webhook_that_is_away_is_told_and_the_job_starts_when_it_is_gone(
    job: ClusterJob, group: str, resource: str
) -> None:
    with unanswered_webhook(job.namespace, group=group, resource=resource):
        job.apply()
        found = job.wait_for_reason("AdmissionUnavailable")
        assert 'failed calling webhook "away.tests.example"' in found["message"]
    job.wait_until_complete(seconds=180)
    assert_invariants(job)


@contextmanager
def unanswered_webhook(namespace: Namespace, *, group: str, resource: str) -> Iterator[None]:
    """Have objects of a namespace admitted by a service that does not exist."""
    kind, kubectl = "validatingwebhookconfigurations", namespace.cluster.kubectl
    kubectl.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": namespace.name},
            "webhooks": [
                {
                    "name": "away.tests.example",
                    "clientConfig": {"service": {"namespace": namespace.name, "name": "away"}},
                    "rules": [
                        {
                            "apiGroups": [group],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": [resource],
                        }
                    ],
                    "namespaceSelector": {
                        "matchLabels": {"kubernetes.io/metadata.name": namespace.name}
                    },
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }
    )
    try:
        yield
    finally:
        kubectl.delete(kind, namespace.name)


def test_a_policy_that_denies_the_job_is_told_and_the_run_begins_when_it_is_gone(
    job: ClusterJob,
) -> None:
    with denied_jobs(job.namespace):
        job.apply()
        assert "every Job needs a team" in job.wait_for_reason("PodForbidden")["message"]
    job.wait_until_complete(seconds=180)


@contextmanager
def denied_jobs(namespace: Namespace) -> Iterator[None]:
    """Have a policy of the API server deny every Job of a namespace."""
    kind, kubectl = "validatingadmissionpolicies", namespace.cluster.kubectl
    version, name = "admissionregistration.k8s.io/v1", namespace.name
    only_there = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    rule = {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["jobs"],
    }
    kubectl.apply(
        {
            "apiVersion": version,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": only_there},
                "validations": [{"expression": "false", "message": "every Job needs a team"}],
            },
        },
        {
            "apiVersion": version,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    )
    try:
        wait_for(lambda: is_denied(namespace), seconds=60, what="the policy to deny Jobs")
        yield
    finally:
        kubectl.delete("validatingadmissionpolicybindings", name)
        kubectl.delete(kind, name)


def is_denied(namespace: Namespace) -> bool:
    tried = ("create", "job", "any", "--image=any", "--dry-run=server")
    return "every Job needs a team" in namespace.kubectl.attempt(*tried).stderr


def test_a_quota_for_a_limit_that_the_pods_lack_is_told(job: ClusterJob) -> None:
    job.kubectl("create", "quota", "cpu", "--hard=limits.cpu=4")
    job.apply()
    assert "must specify limits.cpu" in job.wait_for_reason("QuotaExceeded")["message"]
    job.change(suspend=True)
    job.wait_for_condition("Suspended")
    job.change(suspend=False, workers={"resources": {"limits": {"cpu": "1"}}})
    job.wait_until_complete(seconds=180)


def test_what_the_platform_does_not_allow_is_refused_before_a_pod_exists(job: ClusterJob) -> None:
    job.spec["workers"]["image"] = "elsewhere.example/runner:1"
    job.spec["workers"]["serviceAccountName"] = "admin"
    job.apply()
    message = job.wait_for_condition("Failed", reason="NotAllowed")["message"]
    assert "spec.workers.image" in message
    assert "spec.workers.serviceAccountName" in message
    assert job.jobs() == []


def test_a_schema_that_does_not_fit_is_told_with_the_column(job: ClusterJob) -> None:
    job.spec["model"]["inputs"] = [{"name": "input", "columns": ["a", "b", "nothing"]}]
    job.apply()
    found = job.wait_for_condition("Failed", reason="SchemaMismatch")
    assert "nothing" in found["message"]
    assert job.condition("SchemaValid")["status"] == "False"


def test_a_job_in_a_queue_is_shown_as_queued_until_it_is_admitted(job: ClusterJob) -> None:
    """Kueue's webhook suspends the Job, and Kueue resumes it: here the test does both."""
    job.labels = {"kueue.x-k8s.io/queue-name": "scoring"}
    job.spec["workers"]["nodeSelector"] = {"kubernetes.io/hostname": "not-yet"}
    job.apply()
    job.wait_for_reason("Unschedulable")
    (run,) = job.jobs()
    assert run["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "scoring"
    name = run["metadata"]["name"]
    job.kubectl("patch", "job", name, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    job.wait_for_reason("Queued")
    assert job.status()["phase"] == "Queued"
    unsuspend = (
        '{"spec":{"suspend":false,"template":{"spec":{"nodeSelector":null}}}}'  # as flavors do
    )
    job.kubectl("patch", "job", name, "--type=merge", "-p", unsuspend)
    job.wait_until_complete()
    assert_invariants(job)


def test_a_finalizer_that_keeps_the_pods_of_a_suspended_job_is_named(job: ClusterJob) -> None:
    job.spec["workers"]["nodeSelector"] = {"kubernetes.io/hostname": "nowhere"}
    job.apply()
    job.wait_for_reason("Unschedulable")
    (name,) = (found["metadata"]["name"] for found in job.jobs())
    job.kubectl.patch("jobs.batch", name, {"metadata": {"finalizers": ["a.example/audit"]}})
    job.change(suspend=True)
    wait_for(
        lambda: "a.example/audit" in job.condition("Reconciling").get("message", ""),
        seconds=60,
        what="the finalizer to be named",
        explain=job.explain,
    )
    assert job.pods() != []
    job.kubectl.patch("jobs.batch", name, {"metadata": {"finalizers": None}})
    job.wait_for_condition("Suspended")


def test_a_job_that_somebody_else_runs_is_left_alone(job: ClusterJob) -> None:
    job.spec["managedBy"] = "example.com/other"
    job.apply()
    marker = make_cluster_job(job.namespace, job.on_s3.folder)
    marker.name = "marker"
    marker.apply()
    marker.wait_until_complete()
    assert job.jobs() == []
    assert job.status() == {"observedGeneration": -1}
