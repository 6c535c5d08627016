"""BatchInferenceJobs as an API server hands them to the operator, valid unless told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_api.problems import parse_job
from testkit.manifests import make_manifest

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.job import BatchInferenceJob

JOB_UID = "0b1e7c0e-7d3c-4c1e-9d55-5a1f0f9e7a11"
_IN_A_CLUSTER = {
    "metadata.namespace": "scoring",
    "metadata.uid": JOB_UID,
    "metadata.generation": 1,
    "spec.model.storageUri": "s3://models/churn/model.onnx",
    "spec.input.storageUris": ["s3://lake/customers/"],
    "spec.output.storageUri": "s3://lake/scores/",
}


def make_stored_manifest(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make the manifest of a stored job, with `changes` by dotted path as in `make_manifest`."""
    return make_manifest(_IN_A_CLUSTER | (changes or {}))


def make_job(changes: dict[str, Any] | None = None) -> BatchInferenceJob:
    """Make a job with `changes` by dotted path: `make_job({"spec.workers.replicas": 4})`."""
    return parse_job(make_stored_manifest(changes))
