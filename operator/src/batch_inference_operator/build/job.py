"""The Indexed Job of a run: it keeps the pods, and says nothing about the outcome."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from batch_inference_api.pod_contract import PERMANENT_EXIT_CODES
from batch_inference_api.v1alpha1.workers import CHANGE_WHILE_SUSPENDED
from batch_inference_operator.build.layout import CONTAINER
from batch_inference_operator.build.ownership import labels_of_run, name_of_run, owned_by_resource
from batch_inference_operator.build.plain import as_plain
from batch_inference_operator.build.pod import build_pod_template
from batch_inference_operator.names import (
    APPLIED_PODS_ANNOTATION,
    APPLIED_WORKERS_ANNOTATION,
    KUEUE_EQUAL_COMPLETIONS_ANNOTATION,
    KUEUE_LABELS,
    KUEUE_MIN_PARALLELISM_ANNOTATION,
    KUEUE_QUEUE_LABEL,
)

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.job import BatchInferenceJob
    from batch_inference_api.v1alpha1.workers import WorkersSpec
    from batch_inference_operator.settings import Settings

_BACKSTOP_SECONDS = 60
"""The driver ends a run in time and says why; the Job's own deadline is for drivers that cannot."""


def build_job(
    job: BatchInferenceJob, *, number: int, deadline_seconds: int | None, settings: Settings
) -> dict[str, Any]:
    """The Job of run `number`, which has `deadline_seconds` left; None: as long as it takes.

    It never says `suspend`, which is for queues, nor `ttlSecondsAfterFinished`, which would take
    the final report away before it is read. There is no `backoffLimitPerIndex`: while an index has
    retries left, it keeps a namespace from being deleted.
    """
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": job.spec.workers.replicas,
        "parallelism": job.spec.workers.replicas,
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        "backoffLimit": job.spec.backoff_limit,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": _pod_failure_policy(),
        "template": build_pod_template(job, number=number, settings=settings),
    }
    limit = deadline_seconds
    if KUEUE_QUEUE_LABEL in job.metadata.labels:
        limit = job.spec.active_deadline_seconds  # the time begins anew with each admission
    if limit is not None:
        spec["activeDeadlineSeconds"] = limit + _BACKSTOP_SECONDS
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of_run(job, number),
            "namespace": job.metadata.namespace,
            "labels": labels_of_run(job, number) | _queue_labels(job),
            "annotations": _annotations(job),
            "ownerReferences": [owned_by_resource(job)],
        },
        "spec": spec,
    }


def fingerprint_of_pods(workers: WorkersSpec) -> str:
    """Sum up what pods are made from once, so that it changes between runs only.

    Defaults are left out: a field that a later release adds changes no fingerprint.
    """
    plain = as_plain(workers)
    told = {field: plain[field] for field in CHANGE_WHILE_SUSPENDED if field in plain}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _pod_failure_policy() -> dict[str, Any]:
    """The first rule that matches counts, so a verdict holds even if the pod was evicted after it.

    What no rule matches is counted against `backoffLimit`.
    """
    return {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": CONTAINER,
                    "operator": "In",
                    "values": list(PERMANENT_EXIT_CODES),
                },
            },
            {
                "action": "Ignore",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
        ]
    }


def _queue_labels(job: BatchInferenceJob) -> dict[str, str]:
    labels = job.metadata.labels
    return {label: labels[label] for label in KUEUE_LABELS if label in labels}


def _annotations(job: BatchInferenceJob) -> dict[str, str]:
    """How many pods were asked for and, in a queue, that fewer will do.

    Kueue refuses a least number of pods that is not below the number asked for.
    """
    replicas = job.spec.workers.replicas
    annotations = {
        APPLIED_WORKERS_ANNOTATION: str(replicas),
        APPLIED_PODS_ANNOTATION: fingerprint_of_pods(job.spec.workers),
    }
    if KUEUE_QUEUE_LABEL in job.metadata.labels:
        annotations[KUEUE_EQUAL_COMPLETIONS_ANNOTATION] = "true"
        if replicas > 1:
            annotations[KUEUE_MIN_PARALLELISM_ANNOTATION] = "1"
    return annotations
