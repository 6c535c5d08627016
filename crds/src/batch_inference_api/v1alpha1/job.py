"""The BatchInferenceJob: its spec, and what can be said about several parts of it at once."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from batch_inference_api.v1alpha1.error_policy import ErrorPolicySpec
from batch_inference_api.v1alpha1.execution import (
    CPU_PROVIDER,
    BatchingSpec,
    ExecutionSpec,
    ShardingSpec,
)
from batch_inference_api.v1alpha1.input import InputSpec
from batch_inference_api.v1alpha1.model import ModelSpec
from batch_inference_api.v1alpha1.names import (
    JOB_NAME_EXPECTATION,
    JOB_NAME_LENGTH,
    JOB_NAME_PATTERN,
)
from batch_inference_api.v1alpha1.output import OutputSpec
from batch_inference_api.v1alpha1.processing import ProcessingSpec
from batch_inference_api.v1alpha1.resource import (
    CANNOT_CHANGE,
    ResourceModel,
    Rule,
    find_doubles,
    immutable,
    matching,
)
from batch_inference_api.v1alpha1.workers import CHANGE_WHILE_SUSPENDED, WorkersSpec

GROUP = "batchinference.dev"
VERSION = "v1alpha1"
KIND = "BatchInferenceJob"
PLURAL = "batchinferencejobs"
MANAGER = f"{GROUP}/operator"
"""What `spec.managedBy` may say to mean the operator of this project."""

_MANAGER_PATTERN = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9][-A-Za-z0-9_.]*$"

Seconds = Annotated[int, Field(ge=1, le=2_147_483_647)]


def _changes_while_suspended(field: str) -> Rule:
    return Rule(
        "self.suspend || oldSelf.suspend || !has(self.workers) || !has(oldSelf.workers)"
        f" || (has(self.workers.{field}) == has(oldSelf.workers.{field})"
        f" && (!has(self.workers.{field}) || self.workers.{field} == oldSelf.workers.{field}))",
        f"workers.{field} can change only while the job is suspended",
        field="workers",
    )


class JobSpec(ResourceModel):
    """What is scored, with which model, and where the results go."""

    rules = (
        *(
            immutable(field)
            for field in (
                "model",
                "input",
                "preprocessing",
                "postprocessing",
                "output",
                "sharding",
                "batching",
                "execution",
                "managedBy",
            )
        ),
        Rule(
            "!has(self.errorPolicy) || !has(oldSelf.errorPolicy)"
            " || self.errorPolicy.onError == oldSelf.errorPolicy.onError",
            f"errorPolicy.onError {CANNOT_CHANGE}",
            field="errorPolicy",
        ),
        *(_changes_while_suspended(field) for field in CHANGE_WHILE_SUSPENDED),
    )

    model: ModelSpec
    """The model, and how it is bound to columns. It cannot change once the job exists."""
    input: InputSpec
    """The dataset that is scored. It cannot change once the job exists."""
    preprocessing: ProcessingSpec | None = None
    """Columns computed before the model. It cannot change once the job exists."""
    postprocessing: ProcessingSpec | None = None
    """Columns computed from the model's outputs, such as a label from a probability. It cannot
    change once the job exists."""
    output: OutputSpec
    """Where and how results are written. It cannot change once the job exists."""
    sharding: ShardingSpec = Field(default_factory=ShardingSpec.model_construct)
    """How the dataset is cut into shards. It cannot change once the job exists."""
    batching: BatchingSpec = Field(default_factory=BatchingSpec.model_construct)
    """How many rows the model scores in one call. It cannot change once the job exists."""
    execution: ExecutionSpec = Field(default_factory=ExecutionSpec.model_construct)
    """How the model is run. It cannot change once the job exists."""
    workers: WorkersSpec = Field(default_factory=WorkersSpec.model_construct)
    """The pods that score."""
    error_policy: ErrorPolicySpec = Field(default_factory=ErrorPolicySpec.model_construct)
    """What happens to rows that cannot be scored."""
    backoff_limit: Annotated[int, Field(ge=0, le=10_000)] = 6
    """Failed pods that a run replaces before it fails; disruptions are not counted."""
    backoff_limit_per_shard: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a shard that failed is tried again."""
    max_failed_shards: Annotated[int, Field(ge=0, le=100_000)] = 0
    """The job fails when more shards than this failed for good."""
    active_deadline_seconds: Seconds | None = None
    """The job fails when it takes longer, all its runs together; resuming after `suspend` starts
    the time again."""
    pre_running_deadline_seconds: Seconds | None = None
    """The job fails when its first pods have not begun to score after this time: they wait for a
    node or an image, start, and check inputs and model. What has begun to score once is no longer
    bound by it."""
    progress_deadline_seconds: Seconds | None = None
    """The job fails when no row was scored for this time."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """How long the pods of a finished job are kept, but those that a deadline ended, which go at
    once. The BatchInferenceJob itself stays."""
    managed_by: (
        Annotated[
            str,
            Field(min_length=3, max_length=63, json_schema_extra={"pattern": _MANAGER_PATTERN}),
            matching(_MANAGER_PATTERN, "must look like example.com/controller"),
        ]
        | None
    ) = None
    """Who runs the job, when it is not this operator: another controller, such as Kueue's
    MultiKueue, by the name that it goes by. It cannot change once the job exists."""
    suspend: bool = False
    """Whether the job's pods are taken away. What is committed stays, and the job goes on from
    there when this is false again."""

    @property
    def passed_through(self) -> tuple[str, ...]:
        """The columns of the input that are copied to the output."""
        key = self.input.key_field
        return self.output.passthrough_fields or (() if key is None else (key,))

    def find_problems(self) -> Iterator[tuple[str, str]]:
        yield from self._find_idle_gpus()
        yield from self._find_read_only_outputs()
        computed = self._computed()
        for name in find_doubles(computed):
            message = (
                f"column {name!r} has two sources among preprocessing, model outputs and "
                "postprocessing (case does not count)"
            )
            yield "postprocessing", message
        written = {name.lower() for name in (*self._scores(), *_names(self.postprocessing))}
        for name in self.output.passthrough_fields:
            if name.lower() in written:
                yield (
                    "output.passthroughFields",
                    f"column {name!r} is written already, as a model output or by postprocessing",
                )
        yield from self._find_unknown_partitions(written)
        key = self.input.key_field
        if key is not None and key.lower() in {name.lower() for name in computed}:
            yield "input.keyField", f"column {key!r} is computed: it must be a column of the input"

    def _find_idle_gpus(self) -> Iterator[tuple[str, str]]:
        execution = self.execution
        is_cpu_only = set(execution.execution_providers) == {CPU_PROVIDER}
        if self.workers.resources.gpus and is_cpu_only and not execution.allow_provider_fallback:
            message = (
                "the pods get GPUs that nothing would use: ask for CUDAExecutionProvider, or take "
                "the GPUs out of spec.workers.resources"
            )
            yield "execution.executionProviders", message

    def _find_read_only_outputs(self) -> Iterator[tuple[str, str]]:
        for number, volume in enumerate(self.workers.volumes):
            claim = volume.persistent_volume_claim
            if claim is None or not claim.read_only:
                continue
            if f"{self.output.storage_uri}/".startswith(f"pvc://{claim.claim_name}/"):
                message = "must be false, or left out: output.storageUri is written to this claim"
                yield f"workers.volumes[{number}].persistentVolumeClaim.readOnly", message

    def _scores(self) -> tuple[str, ...]:
        return tuple(output.column for output in self.model.outputs)

    def _computed(self) -> tuple[str, ...]:
        return (*_names(self.preprocessing), *self._scores(), *_names(self.postprocessing))

    def _find_unknown_partitions(self, written: set[str]) -> Iterator[tuple[str, str]]:
        """Without `model.outputs` the model decides on its columns, so nothing is known here."""
        if not self.model.outputs:
            return
        columns = written | {name.lower() for name in self.passed_through}
        for name in self.output.partition_by:
            if name.lower() not in columns:
                yield (
                    "output.partitionBy",
                    f"column {name!r} is not written: add it to output.passthroughFields",
                )


def _names(processing: ProcessingSpec | None) -> tuple[str, ...]:
    return () if processing is None else tuple(column.name for column in processing.columns)


class ObjectMeta(ResourceModel):
    """The part of an object's metadata that a run reads; everything else is Kubernetes' own."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str,
        Field(max_length=JOB_NAME_LENGTH),
        matching(JOB_NAME_PATTERN, JOB_NAME_EXPECTATION),
    ]
    namespace: Annotated[str, Field(max_length=63)] = "default"
    uid: Annotated[str, Field(max_length=64)] | None = None
    generation: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class BatchInferenceJob(ResourceModel):
    """Scores a dataset with a model, exactly once."""

    api_version: Literal["batchinference.dev/v1alpha1"]
    kind: Literal["BatchInferenceJob"]
    metadata: ObjectMeta
    spec: JobSpec
    status: Mapping[str, Any] | None = None
    """As the server holds it; `status.JobStatus` is its model."""
