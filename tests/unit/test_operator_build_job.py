"""The Indexed Job of a run."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.problems import parse_job
from batch_inference_operator.build.job import build_job, fingerprint_of_pods
from batch_inference_operator.settings import Settings
from testkit.manifests import make_manifest
from testkit.operator_jobs import JOB_UID, make_job

NAME = "churn-0afed1"


def built(changes: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    options = {"number": 1, "deadline_seconds": None, "settings": Settings()} | arguments
    return build_job(make_job(changes), **options)


def test_a_job_belongs_to_its_resource_and_does_not_hold_up_its_deletion() -> None:
    assert built()["metadata"] == {
        "name": NAME,
        "namespace": "scoring",
        "labels": {
            "batchinference.dev/job-name": "churn",
            "batchinference.dev/job-uid": JOB_UID,
            "batchinference.dev/run": "1",
            "app.kubernetes.io/managed-by": "batch-inference-operator",
            "app.kubernetes.io/component": "runner",
        },
        "annotations": {
            "batchinference.dev/applied-workers": "1",
            "batchinference.dev/applied-pods": fingerprint_of_pods(make_job().spec.workers),
        },
        "ownerReferences": [
            {
                "apiVersion": "batchinference.dev/v1alpha1",
                "kind": "BatchInferenceJob",
                "name": "churn",
                "uid": JOB_UID,
                "controller": True,
            }
        ],
    }


def test_index_0_decides_and_permanent_failures_end_the_job() -> None:
    spec = built({"spec.workers.replicas": 4, "spec.backoffLimit": 9})["spec"]

    del spec["template"]
    assert spec == {
        "completionMode": "Indexed",
        "completions": 4,
        "parallelism": 4,
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        "backoffLimit": 9,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": "runner",
                        "operator": "In",
                        "values": list(range(64, 80)),
                    },
                },
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        },
    }


def test_the_job_s_own_deadline_comes_a_minute_after_the_driver_s() -> None:
    assert built(deadline_seconds=600)["spec"]["activeDeadlineSeconds"] == 660


def test_in_a_queue_the_time_of_each_admission_is_the_whole() -> None:
    """Kueue takes the Job back as it is made, and its time begins when that is admitted."""
    job = {
        "metadata.labels": {"kueue.x-k8s.io/queue-name": "nightly"},
        "spec.activeDeadlineSeconds": 3600,
    }

    assert built(job, deadline_seconds=600)["spec"]["activeDeadlineSeconds"] == 3660


@pytest.mark.parametrize("field", ["suspend", "ttlSecondsAfterFinished", "backoffLimitPerIndex"])
def test_a_job_never_says_what_belongs_to_others(field: str) -> None:
    spec = built({"spec.suspend": True, "spec.ttlSecondsAfterFinished": 1})["spec"]

    assert field not in spec


def test_each_run_has_a_job_of_its_own() -> None:
    first, second = built(number=1), built(number=2)

    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert second["metadata"]["labels"]["batchinference.dev/run"] == "2"
    assert second["spec"]["template"]["metadata"]["labels"]["batchinference.dev/run"] == "2"


def test_a_resource_that_was_made_anew_has_other_jobs() -> None:
    again = built({"metadata.uid": "5f0e1d2c-0000-4000-8000-000000000000"})

    assert again["metadata"]["name"] != NAME


def test_only_the_labels_of_queues_are_copied() -> None:
    queue = {
        "kueue.x-k8s.io/queue-name": "scoring",
        "kueue.x-k8s.io/priority-class": "high",
        "kueue.x-k8s.io/max-exec-time-seconds": "3600",
    }
    labels = queue | {"app.kubernetes.io/instance": "argo", "team": "churn"}

    job = built({"metadata.labels": labels})

    assert queue.items() <= job["metadata"]["labels"].items()
    assert not {"app.kubernetes.io/instance", "team"} & set(job["metadata"]["labels"])
    assert not set(queue) & set(job["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize(
    ("labels", "replicas", "annotations"),
    [
        pytest.param({}, 4, {}, id="without a queue nothing is said to one"),
        pytest.param(
            {"kueue.x-k8s.io/queue-name": "q"},
            4,
            {
                "kueue.x-k8s.io/job-completions-equal-parallelism": "true",
                "kueue.x-k8s.io/job-min-parallelism": "1",
            },
            id="in a queue fewer pods will do",
        ),
        pytest.param(
            {"kueue.x-k8s.io/queue-name": "q"},
            1,
            {"kueue.x-k8s.io/job-completions-equal-parallelism": "true"},
            id="of one pod there cannot be fewer, which Kueue refuses to read",
        ),
    ],
)
def test_a_queue_is_told_how_many_pods_will_do(
    labels: dict[str, str], replicas: int, annotations: dict[str, str]
) -> None:
    job = built({"metadata.labels": labels, "spec.workers.replicas": replicas})

    of_queues = {
        name: value
        for name, value in job["metadata"]["annotations"].items()
        if name.startswith("kueue.x-k8s.io/")
    }
    assert of_queues == annotations


def test_the_fingerprint_of_the_same_workers_is_the_same_in_every_release() -> None:
    """With another one, an upgraded operator would begin runs of edited jobs anew."""
    workers = make_job({"spec.workers.resources": {"limits": {"memory": "2Gi"}}}).spec.workers

    assert fingerprint_of_pods(make_job().spec.workers) == "44136fa355b3678a"
    assert fingerprint_of_pods(workers) == "aecd19b0fa2f9686"


def test_a_job_that_was_never_stored_has_no_run() -> None:
    with pytest.raises(ValueError, match="'churn' has no UID"):
        build_job(parse_job(make_manifest()), number=1, deadline_seconds=None, settings=Settings())
