"""What a run's pods need beside the Job, all of it owned by the Job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_operator.build.network_policy import build_network_policy
from batch_inference_operator.build.ownership import (
    labels_of_run,
    name_of_run,
    owned_by_job,
    uid_of,
)
from batch_inference_operator.build.runner_config import build_runner_config
from batch_inference_operator.build.secret import build_secret
from batch_inference_operator.build.service import build_service
from batch_inference_operator.names import service_name

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.job import BatchInferenceJob
    from batch_inference_operator.settings import Settings


def build_companions(
    job: BatchInferenceJob,
    *,
    number: int,
    owner_name: str,
    owner_uid: str,
    deadline_seconds: int | None,
    token: str,
    settings: Settings,
) -> tuple[dict[str, Any], ...]:
    """The NetworkPolicy, if the settings say so, the Secret and the Service of run `number`.

    They are to be created in this order: pods cannot start without the Secret, so none is ever
    open to everybody. `owner_name` and `owner_uid` are those of the run's Job, `deadline_seconds`
    is what the run has left. `token` is the run's own, at least 256 random bits; it is nowhere but
    in the Secret.
    """
    uid, name = uid_of(job), name_of_run(job, number)

    def metadata(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "namespace": job.metadata.namespace,
            "labels": labels_of_run(job, number),
            "ownerReferences": [owned_by_job(owner_name, owner_uid)],
        }

    config = build_runner_config(
        job, number=number, deadline_seconds=deadline_seconds, settings=settings
    )
    secret = build_secret(metadata(name), config=config, token=token)
    service = build_service(metadata(service_name(name)), uid=uid, number=number)
    if not settings.network_policies:
        return secret, service
    policy = build_network_policy(metadata(name), uid=uid, number=number, settings=settings)
    return policy, secret, service
