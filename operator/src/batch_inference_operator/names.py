"""Labels, annotations and names of all that the operator creates; nothing else spells one."""

from __future__ import annotations

import hashlib
import re

from batch_inference_api.v1alpha1.job import GROUP

JOB_NAME_LABEL = f"{GROUP}/job-name"
"""Name of the BatchInferenceJob, on all of its children: for people and for selectors."""
JOB_UID_LABEL = f"{GROUP}/job-uid"
RUN_LABEL = f"{GROUP}/run"
"""Number of the run, on all of a run's children."""
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "batch-inference-operator"
COMPONENT_LABEL = "app.kubernetes.io/component"
RUNNER_COMPONENT = "runner"
ISTIO_INJECT_LABEL = "sidecar.istio.io/inject"
LINKERD_INJECT_ANNOTATION = "linkerd.io/inject"
COMPLETION_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
OPERATOR_NAME_LABEL = "app.kubernetes.io/name"
OPERATOR_NAME = "batch-inference-operator"
"""What the operator's own pods are called, so that a run's pods can let them in."""
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Name of a namespace as its label, which the API server sets."""

APPLIED_WORKERS_ANNOTATION = f"{GROUP}/applied-workers"
"""`workers.replicas` as last applied to a Job: whoever changed the Job since is left alone."""
APPLIED_PODS_ANNOTATION = f"{GROUP}/applied-pods"
"""Fingerprint of what a Job's pods were made from: with another they belong to a next run."""

CHILD_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
KUEUE_LABELS = (
    KUEUE_QUEUE_LABEL,
    "kueue.x-k8s.io/priority-class",
    "kueue.x-k8s.io/max-exec-time-seconds",
)
KUEUE_MIN_PARALLELISM_ANNOTATION = "kueue.x-k8s.io/job-min-parallelism"
KUEUE_EQUAL_COMPLETIONS_ANNOTATION = "kueue.x-k8s.io/job-completions-equal-parallelism"

FIELD_MANAGER = MANAGED_BY
EVENT_COMPONENT = MANAGED_BY
UNANSWERED_WEBHOOK = "failed calling webhook"
"""In what an API server says of an admission webhook that gave no answer."""
DENIAL = re.compile(r'" is forbidden: |denied (the )?request')
"""In what an API server says of an object that a policy or a webhook refuses, with any code."""


def run_name(job_name: str, uid: str, number: int) -> str:
    """Name of all of a run's objects: the same for whoever computes it, never used twice.

    With a job's name of 52 characters it has 59, which leaves room for the index of a pod.
    """
    digest = hashlib.sha256(f"{uid}/{number}".encode()).hexdigest()
    return f"{job_name}-{digest[:6]}"


def service_name(run: str) -> str:
    """Name of a run's Service, which must begin with a letter (RFC 1035), as no Job's must.

    At most 63 characters, like all of a run's names.
    """
    return run if run[0].isalpha() else f"bij-{run}"


def run_labels(job_name: str, uid: str, number: int) -> dict[str, str]:
    """Labels of every object of a run, as a fresh dict."""
    return {
        JOB_NAME_LABEL: job_name,
        JOB_UID_LABEL: uid,
        RUN_LABEL: str(number),
        MANAGED_BY_LABEL: MANAGED_BY,
        COMPONENT_LABEL: RUNNER_COMPONENT,
    }


def run_selector(uid: str, number: int) -> dict[str, str]:
    """Labels that only the pods of one run have, as a fresh dict."""
    return {JOB_UID_LABEL: uid, RUN_LABEL: str(number)}


def job_selector(uid: str) -> str:
    """Selects the children of one BatchInferenceJob."""
    return f"{CHILD_SELECTOR},{JOB_UID_LABEL}={uid}"
