"""What a run's pods are told: the job, resolved for the place where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.pod_contract import HTTP_PORT
from batch_inference_api.resolve import resolve
from batch_inference_api.runner_contract import RunConfig
from batch_inference_operator.build.claims import locate
from batch_inference_operator.build.layout import TOKEN_PATH, credentials_folder
from batch_inference_operator.build.ownership import name_of_run
from batch_inference_operator.build.resources import fill_resources
from batch_inference_operator.names import service_name

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_api.v1alpha1.job import BatchInferenceJob
    from batch_inference_operator.settings import Settings


def build_runner_config(
    job: BatchInferenceJob, *, number: int, deadline_seconds: int | None, settings: Settings
) -> RunnerConfig:
    """The config of run `number`, which has `deadline_seconds` left; None: as long as it takes."""
    return resolve(
        _with_what_is_left_to_us(job, deadline_seconds, settings),
        resolve_uri=lambda _role, uri: locate(uri),
        credentials_dir=lambda role, _secret_name: credentials_folder(role),
        run=RunConfig(
            number=number,
            # The short name: it is the first that a pod's resolver tries, whatever the cluster's
            # own domain is called.
            head_address=f"{service_name(name_of_run(job, number))}:{HTTP_PORT}",
            token_path=TOKEN_PATH,
        ),
    )


def _with_what_is_left_to_us(
    job: BatchInferenceJob, deadline_seconds: int | None, settings: Settings
) -> BatchInferenceJob:
    """The job with the resources that its pods really get, and the time that is really left."""
    workers = job.spec.workers
    filled = workers.model_copy(update={"resources": fill_resources(workers.resources, settings)})
    spec = job.spec.model_copy(
        update={"workers": filled, "active_deadline_seconds": deadline_seconds}
    )
    return job.model_copy(update={"spec": spec})
