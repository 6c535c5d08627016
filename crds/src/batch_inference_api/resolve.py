"""A BatchInferenceJob and where its parts lie -> the RunnerConfig. Pure: no I/O, no environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batch_inference_api.choices import NullPolicy
from batch_inference_api.runner_contract import RunConfig, RunnerConfig
from batch_inference_api.v1alpha1.input import CsvSpec, InputSpec
from batch_inference_api.v1alpha1.output import DEFAULT_COMPRESSIONS, OutputSpec
from batch_inference_api.v1alpha1.quantity import millis, whole

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.job import BatchInferenceJob, JobSpec
    from batch_inference_api.v1alpha1.model import ModelSpec
    from batch_inference_api.v1alpha1.names import SecretReference
    from batch_inference_api.v1alpha1.processing import ProcessingSpec
    from batch_inference_api.v1alpha1.workers import WorkersSpec

ResolveUri = Callable[[str, str], str]
"""From a role (`model`, `input`, `output`) and a URI of the manifest to one that is absolute, with
`pvc://` mapped to a mounted folder's `file://`. Those of the input are globs."""
CredentialsDir = Callable[[str, str], str | None]
"""From a role and a Secret's name to the folder of its keys; None: the environment's own
credentials."""


def resolve(
    job: BatchInferenceJob,
    *,
    resolve_uri: ResolveUri,
    credentials_dir: CredentialsDir,
    run: RunConfig | None = None,
) -> RunnerConfig:
    """Fill every default and make every location absolute.

    Raises whatever `resolve_uri` and `credentials_dir` raise.
    """
    spec = job.spec

    def locate(role: str, uri: str, secret: SecretReference | None) -> dict[str, Any]:
        folder = None if secret is None else credentials_dir(role, secret.name)
        return {"uri": resolve_uri(role, uri), "credentials_dir": folder}

    model, source, target = spec.model, spec.input, spec.output
    return RunnerConfig.model_validate(
        {
            "job": {
                "name": job.metadata.name,
                "namespace": job.metadata.namespace,
                "uid": job.metadata.uid,
            },
            "run": {} if run is None else run,
            "model": {
                "location": locate("model", model.storage_uri, model.secret_ref),
                **_bindings(model),
            },
            "input": {
                "locations": [
                    locate("input", uri, source.secret_ref) for uri in source.storage_uris
                ],
                **_reading(source),
            },
            "preprocessing": _columns(spec.preprocessing),
            "postprocessing": _columns(spec.postprocessing),
            "output": {
                "location": locate("output", target.storage_uri, target.secret_ref),
                **_writing(target, spec.passed_through),
            },
            "workers": _workers(spec.workers),
            **_running(spec),
        }
    )


def _bindings(model: ModelSpec) -> dict[str, Any]:
    return {
        "digest": model.digest,
        "inputs": [
            {
                "name": item.name,
                "columns": item.columns,
                "nulls": item.nulls or NullPolicy.REJECT,
                "fill_value": item.fill_value,
            }
            for item in model.inputs
        ],
        "outputs": [
            {
                "name": item.name,
                "column": item.column,
                "index": item.index,
                "class_label": item.class_label,
                "non_finite": item.non_finite,
            }
            for item in model.outputs
        ],
    }


def _reading(source: InputSpec) -> dict[str, Any]:
    csv = source.csv or CsvSpec.model_construct()
    return {
        "format": source.format,
        "csv": {
            "delimiter": csv.delimiter,
            "header": csv.header,
            "newlines_in_values": csv.newlines_in_values,
        },
        "filter": source.filter,
        "key_field": source.key_field,
    }


def _columns(processing: ProcessingSpec | None) -> list[dict[str, str]]:
    if processing is None:
        return []
    return [{"name": column.name, "expression": column.expression} for column in processing.columns]


def _writing(target: OutputSpec, passed_through: tuple[str, ...]) -> dict[str, Any]:
    return {
        "format": target.format,
        "passthrough_fields": passed_through,
        "mode": target.mode,
        "compression": target.compression or DEFAULT_COMPRESSIONS[target.format],
        "partition_by": target.partition_by,
    }


def _workers(workers: WorkersSpec) -> dict[str, Any]:
    limits, requests = workers.resources.limits, workers.resources.requests
    resources = {**requests, **limits}
    cpu, memory = resources.get("cpu"), resources.get("memory")
    return {
        "replicas": workers.replicas,
        "cpu_millis": None if cpu is None else millis(cpu),
        "memory_bytes": None if memory is None else whole(memory),
        "gpus": workers.resources.gpus,
    }


def _running(spec: JobSpec) -> dict[str, Any]:
    batch_size = spec.batching.batch_size
    return {
        "sharding": {
            "target_rows_per_shard": spec.sharding.target_rows_per_shard,
            "target_bytes_per_shard": whole(spec.sharding.target_bytes_per_shard),
            "max_shards": spec.sharding.max_shards,
        },
        "execution": {
            "execution_providers": spec.execution.execution_providers,
            "allow_provider_fallback": spec.execution.allow_provider_fallback,
            "intra_op_num_threads": spec.execution.intra_op_num_threads,
            "batch_size": None if batch_size == "auto" else batch_size,
            "batch_timeout_seconds": spec.execution.batch_timeout_seconds,
        },
        "error_policy": {
            "on_error": spec.error_policy.on_error,
            "error_threshold": spec.error_policy.error_threshold,
            "max_error_rate": spec.error_policy.max_error_rate,
        },
        "budget": {
            "backoff_limit_per_shard": spec.backoff_limit_per_shard,
            "max_failed_shards": spec.max_failed_shards,
            "active_deadline_seconds": spec.active_deadline_seconds,
        },
    }
