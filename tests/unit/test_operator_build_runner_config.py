"""What the pods of a run are told."""

from __future__ import annotations

from typing import Any

from batch_inference_api.runner_contract import (
    JobIdentity,
    Location,
    RunConfig,
    RunnerConfig,
    WorkersConfig,
)
from batch_inference_operator.build.runner_config import build_runner_config
from batch_inference_operator.names import run_name
from batch_inference_operator.settings import Settings
from testkit.operator_jobs import JOB_UID, make_job


def built(
    changes: dict[str, Any] | None = None, *, deadline_seconds: int | None = None, **settings: Any
) -> RunnerConfig:
    return build_runner_config(
        make_job(changes),
        number=3,
        deadline_seconds=deadline_seconds,
        settings=Settings(**settings),
    )


def test_a_run_knows_whose_it_is_and_where_its_members_meet() -> None:
    config = built()

    assert config.job == JobIdentity(name="churn", namespace="scoring", uid=JOB_UID)
    assert config.run == RunConfig(
        number=3,
        head_address=f"{run_name('churn', JOB_UID, 3)}:8080",
        token_path="/etc/bij/run/token",
    )


def test_locations_are_those_that_the_pods_see() -> None:
    config = built(
        {
            "spec.model.storageUri": "pvc://models/churn.onnx",
            "spec.input.secretRef": {"name": "lake"},
        }
    )

    assert config.model.location == Location(uri="file:///pvc/models/churn.onnx")
    assert config.input.locations == (
        Location(uri="s3://lake/customers/", credentials_dir="/etc/bij/credentials/input"),
    )
    assert config.output.location == Location(uri="s3://lake/scores/")


def test_scorers_are_sized_by_what_the_pods_really_get() -> None:
    config = built({"spec.workers.replicas": 4}, default_cpu="3", default_memory="6Gi")

    assert config.workers == WorkersConfig(replicas=4, cpu_millis=3000, memory_bytes=6 * 2**30)


def test_devices_that_are_only_requested_count() -> None:
    resources = {"requests": {"nvidia.com/gpu": 2, "memory": "8Gi"}}
    providers = ["CUDAExecutionProvider"]

    config = built(
        {"spec.workers.resources": resources, "spec.execution.executionProviders": providers}
    )

    assert config.workers == WorkersConfig(
        replicas=1, cpu_millis=1000, memory_bytes=8 * 2**30, gpus=2
    )


def test_a_later_run_has_only_the_time_that_is_left() -> None:
    changes = {"spec.activeDeadlineSeconds": 3600}

    assert built(changes, deadline_seconds=90).budget.active_deadline_seconds == 90
    assert built().budget.active_deadline_seconds is None


def test_a_config_survives_the_way_to_the_pods() -> None:
    config = built({"spec.input.keyField": "id", "spec.errorPolicy.maxErrorRate": "0.001"})

    assert RunnerConfig.parse(config.model_dump_json()) == config
