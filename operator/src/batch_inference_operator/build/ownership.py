"""Who owns what: the BatchInferenceJob its runs' Jobs, and each Job what its pods need.

The garbage collector deletes what is owned, so nothing is left over even while no operator runs.
`blockOwnerDeletion` is left out: it needs a right to the owner's finalizers, and would let a child
hold up its owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_api.v1alpha1.job import GROUP, KIND, VERSION
from batch_inference_operator.names import run_labels, run_name

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.job import BatchInferenceJob


def owned_by_resource(job: BatchInferenceJob) -> dict[str, Any]:
    """Reference from a run's Job to the BatchInferenceJob."""
    return _reference(f"{GROUP}/{VERSION}", KIND, name=job.metadata.name, uid=uid_of(job))


def owned_by_job(name: str, uid: str) -> dict[str, Any]:
    """Reference to a run's Job from everything else that belongs to the run."""
    return _reference("batch/v1", "Job", name=name, uid=uid)


def uid_of(job: BatchInferenceJob) -> str:
    """UID that the API server gave; raises ValueError for a job that was never stored."""
    if job.metadata.uid is None:
        raise ValueError(f"{job.metadata.name!r} has no UID: it does not come from an API server")
    return job.metadata.uid


def name_of_run(job: BatchInferenceJob, number: int) -> str:
    """Name of the run's Job and, but for the Service, of everything else that belongs to it."""
    return run_name(job.metadata.name, uid_of(job), number)


def labels_of_run(job: BatchInferenceJob, number: int) -> dict[str, str]:
    """Labels of everything that belongs to the run; never those that users gave their job."""
    return run_labels(job.metadata.name, uid_of(job), number)


def _reference(api_version: str, kind: str, *, name: str, uid: str) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
    }
