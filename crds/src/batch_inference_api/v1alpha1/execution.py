"""spec.sharding, spec.batching and spec.execution: how the work is cut and the model is run."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from batch_inference_api.v1alpha1.quantity import Quantity, too_few_bytes
from batch_inference_api.v1alpha1.resource import ResourceModel, matching

MAX_BATCH_SIZE = 1_000_000
_PROVIDER_PATTERN = "^[A-Za-z0-9]+ExecutionProvider$"


class ShardingSpec(ResourceModel):
    """How the dataset is cut into shards, the units of retry and of commit."""

    target_rows_per_shard: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000_000
    """Most rows of a shard, for formats that count rows beforehand (Parquet, Arrow). A row group or
    record batch is not divided."""
    target_bytes_per_shard: Quantity = "256Mi"
    """Most bytes of the input in a shard. A row group, record batch or compressed file is not
    divided."""
    max_shards: Annotated[int, Field(ge=1, le=100_000)] = 100_000
    """Shards become larger rather than more than this."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        if problem := too_few_bytes(self.target_bytes_per_shard):
            yield "targetBytesPerShard", problem


def _check_batch_size(value: Any) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_BATCH_SIZE:
        raise ValueError(f"must be auto, or a whole number from 1 to {MAX_BATCH_SIZE}")
    return value


BatchSize = Annotated[
    int | Literal["auto"],
    PlainValidator(_check_batch_size),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 16,
            "x-kubernetes-validations": [
                {
                    "rule": "type(self) == int ? self >= 1 && self <= "
                    f"{MAX_BATCH_SIZE} : self == 'auto'",
                    "message": f"must be auto, or a whole number from 1 to {MAX_BATCH_SIZE}",
                }
            ],
        }
    ),
]

CPU_PROVIDER = "CPUExecutionProvider"


class BatchingSpec(ResourceModel):
    """How many rows the model scores in one call."""

    batch_size: BatchSize = "auto"
    """Rows per call of the model: a number, or `auto` to find the fastest that fits in memory."""


class ExecutionSpec(ResourceModel):
    """How the model is run."""

    execution_providers: Annotated[
        tuple[
            Annotated[
                str,
                Field(max_length=64, json_schema_extra={"pattern": _PROVIDER_PATTERN}),
                matching(
                    _PROVIDER_PATTERN,
                    "must be the name of an ONNX Runtime execution provider, such as "
                    "CPUExecutionProvider or CUDAExecutionProvider",
                ),
            ],
            ...,
        ],
        Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = (CPU_PROVIDER,)
    """ONNX Runtime execution providers in order of preference. All of them must be available, and
    the first active, unless `allowProviderFallback` is true. Pods with GPUs need another than the
    CPU's."""
    allow_provider_fallback: bool = False
    """Whether the job may run on a later provider, or on the CPU, where one is not available. The
    status names the provider that is active."""
    intra_op_num_threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads inside one call of the model. One is best unless a single call is large."""
    batch_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    """A call of the model that takes longer is killed, and the rows that cause it are rejected."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        if len(set(self.execution_providers)) < len(self.execution_providers):
            yield "executionProviders", "names a provider twice"
