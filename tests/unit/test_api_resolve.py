"""A job -> the config that a runner obeys."""

from __future__ import annotations

import pytest

from batch_inference_api.choices import DataFormat, NullPolicy
from batch_inference_api.problems import parse_job
from batch_inference_api.resolve import resolve
from batch_inference_api.runner_contract import (
    ExecutionConfig,
    Location,
    RunConfig,
    RunnerConfig,
    ShardingConfig,
    WorkersConfig,
)
from testkit.manifests import make_manifest


def resolved(changes=None, **arguments) -> RunnerConfig:
    return resolve(
        parse_job(make_manifest(changes)),
        resolve_uri=lambda _role, uri: f"file:///base/{uri}",
        credentials_dir=lambda role, name: f"/secrets/{role}/{name}",
        **arguments,
    )


def test_every_default_of_the_resource_is_that_of_the_contract():
    config = resolved()

    assert config.sharding == ShardingConfig()
    assert config.execution == ExecutionConfig()
    assert config.workers == WorkersConfig()
    assert config.run == RunConfig()
    assert config == RunnerConfig.parse(config.model_dump_json())


def test_locations_carry_the_credentials_of_their_role():
    config = resolved(
        {
            "spec.model.secretRef": {"name": "a"},
            "spec.input.secretRef": {"name": "b"},
            "spec.input.storageUris": ["x", "y"],
        }
    )

    assert config.model.location == Location(
        uri="file:///base/model.onnx", credentials_dir="/secrets/model/a"
    )
    assert [location.credentials_dir for location in config.input.locations] == [
        "/secrets/input/b",
        "/secrets/input/b",
    ]
    assert config.output.location.credentials_dir is None


def test_only_the_key_is_copied_when_nothing_else_is_asked_for():
    assert resolved().output.passthrough_fields == ()
    assert resolved({"spec.input.keyField": "id"}).output.passthrough_fields == ("id",)
    config = resolved({"spec.input.keyField": "id", "spec.output.passthroughFields": ["a"]})
    assert config.output.passthrough_fields == ("a",)


def test_each_output_format_has_its_own_default_compression():
    found = {
        name: resolved({"spec.output.format": name.value}).output.compression for name in DataFormat
    }

    assert found == {
        DataFormat.PARQUET: "zstd",
        DataFormat.CSV: "none",
        DataFormat.JSON_LINES: "none",
        DataFormat.ARROW: "none",
    }


def test_limits_win_over_requests():
    config = resolved(
        {
            "spec.workers.resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"memory": "2Gi", "example.com/fpga": 1},
            }
        }
    )

    assert config.workers == WorkersConfig(cpu_millis=500, memory_bytes=2 * 1024**3)


@pytest.mark.parametrize(
    ("resource", "gpus"),
    [
        ("nvidia.com/gpu", 3),
        ("amd.com/gpu", 3),
        ("nvidia.com/gpu.shared", 3),
        ("nvidia.com/mig-1g.10gb", 3),
        ("example.com/fpga", 0),
    ],
)
@pytest.mark.parametrize("field", ["requests", "limits"])
def test_a_gpu_counts_whatever_its_device_plugin_calls_it(field, resource, gpus):
    config = resolved(
        {
            "spec.workers.resources": {field: {resource: 3}},
            "spec.execution.executionProviders": ["CUDAExecutionProvider"],
        }
    )

    assert config.workers.gpus == gpus


def test_whatever_the_spec_says_reaches_the_runner():
    config = resolved(
        {
            "metadata.namespace": "ml",
            "metadata.uid": "u-1",
            "spec.model.inputs": [
                {"name": "x", "columns": ["a"], "fillValue": "0"},
                {"name": "y", "columns": ["b"], "nulls": "NaN"},
            ],
            "spec.model.outputs": [
                {"name": "p", "column": "c", "index": 1, "nonFinite": "Reject"},
                {"name": "p", "column": "d", "classLabel": "1"},
            ],
            "spec.input.format": "CSV",
            "spec.input.csv": {"delimiter": ";", "header": False, "newlinesInValues": "Never"},
            "spec.input.filter": "a > 1",
            "spec.preprocessing.columns": [{"name": "b", "expression": "a + 1"}],
            "spec.postprocessing.columns": [{"name": "label", "expression": "c > 0.5"}],
            "spec.output.mode": "Append",
            "spec.output.partitionBy": ["label"],
            "spec.sharding": {
                "targetRowsPerShard": 7,
                "targetBytesPerShard": "1Ki",
                "maxShards": 9,
            },
            "spec.batching": {"batchSize": 64},
            "spec.execution": {
                "executionProviders": ["CUDAExecutionProvider"],
                "allowProviderFallback": True,
                "intraOpNumThreads": 2,
                "batchTimeoutSeconds": 5,
            },
            "spec.errorPolicy": {"onError": "Skip", "errorThreshold": 3, "maxErrorRate": "0.5"},
            "spec.backoffLimitPerShard": 1,
            "spec.maxFailedShards": 2,
            "spec.activeDeadlineSeconds": 60,
            "spec.workers.replicas": 4,
        },
        run=RunConfig(number=3),
    )

    wire = config.model_dump(mode="json", exclude_defaults=True)
    assert wire == {
        "job": {"name": "churn", "namespace": "ml", "uid": "u-1"},
        "run": {"number": 3},
        "model": {
            "location": {"uri": "file:///base/model.onnx"},
            "inputs": [
                {"name": "x", "columns": ["a"], "fillValue": "0"},
                {"name": "y", "columns": ["b"], "nulls": "NaN"},
            ],
            "outputs": [
                {"name": "p", "column": "c", "index": 1, "nonFinite": "Reject"},
                {"name": "p", "column": "d", "classLabel": "1"},
            ],
        },
        "input": {
            "locations": [{"uri": "file:///base/data/"}],
            "format": "CSV",
            "csv": {"delimiter": ";", "header": False, "newlinesInValues": "Never"},
            "filter": "a > 1",
        },
        "preprocessing": [{"name": "b", "expression": "a + 1"}],
        "postprocessing": [{"name": "label", "expression": "c > 0.5"}],
        "output": {
            "location": {"uri": "file:///base/scores/"},
            "format": "Parquet",
            "mode": "Append",
            "compression": "zstd",
            "partitionBy": ["label"],
        },
        "sharding": {"targetRowsPerShard": 7, "targetBytesPerShard": 1024, "maxShards": 9},
        "execution": {
            "executionProviders": ["CUDAExecutionProvider"],
            "allowProviderFallback": True,
            "intraOpNumThreads": 2,
            "batchSize": 64,
            "batchTimeoutSeconds": 5,
        },
        "errorPolicy": {"onError": "Skip", "errorThreshold": 3, "maxErrorRate": "0.5"},
        "budget": {
            "backoffLimitPerShard": 1,
            "maxFailedShards": 2,
            "activeDeadlineSeconds": 60,
        },
        "workers": {"replicas": 4},
    }
    assert config.model.inputs[0].nulls is NullPolicy.REJECT
