"""The status of a BatchInferenceJob. Every field is optional and bounded."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from batch_inference_api.choices import MAX_SAMPLES
from batch_inference_api.v1alpha1.resource import ResourceModel

MAX_COUNT = 9_007_199_254_740_991
"""The largest number that every JSON reader keeps as it is."""
REASON_PATTERN = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Instant = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
Uri = Annotated[str, Field(max_length=1024)]
Name = Annotated[str, Field(max_length=253)]
IndexRanges = Annotated[str, Field(max_length=1024)]

_TYPE_PATTERN = "^[A-Za-z]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$"


class Phase(StrEnum):
    """Where a job stands, in one word."""

    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    FINALIZING = "Finalizing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class ProgressStatus(ResourceModel):
    """Rows scored so far, those in flight included; it never goes back."""

    percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    """Share of the rows that is scored."""
    rows_processed: Count | None = None
    """Rows scored, committed or in flight."""
    rows_total: Count | None = None
    """Rows planned; absent for text formats, which do not say beforehand."""
    summary: Annotated[str, Field(max_length=64)] | None = None
    """The same for people: `12.2M/20.0M (61%)`."""
    rows_per_second: Count | None = None
    """Rows scored in a second, lately."""
    estimated_remaining_seconds: Count | None = None
    """Seconds until the end at this rate."""
    last_updated_time: Instant | None = None
    """When rows were last scored, scored again, or published."""


class CompletionStats(ResourceModel):
    """Rows of committed shards: what is certain."""

    successful_count: Count | None = None
    """Rows written."""
    failed_count: Count | None = None
    """Rows rejected."""
    filtered_count: Count | None = None
    """Rows that the filter left out."""
    incomplete_count: Count | None = None
    """Rows not committed yet."""


class ShardStatus(ResourceModel):
    """Shards by state."""

    total: Count | None = None
    """Shards planned."""
    pending: Count | None = None
    """Shards not begun."""
    active: Count | None = None
    """Shards that are scored now."""
    succeeded: Count | None = None
    """Shards committed."""
    failed: Count | None = None
    """Shards that failed for good."""
    completed_indexes: IndexRanges | None = None
    """Indexes of committed shards as ranges (`0-11,14`); absent when they would be too long."""
    failed_indexes: IndexRanges | None = None
    """Indexes of failed shards, likewise."""


class WorkerStatus(ResourceModel):
    """Pods of the run."""

    desired: Count | None = None
    """Pods wanted."""
    ready: Count | None = None
    """Pods that score."""


class RunStatus(ResourceModel):
    """The current run: the pods of one attempt at the job."""

    number: Count | None = None
    """Number of the run, counted from 1."""
    job_name: Name | None = None
    """Name of the run's Job; absent once the run is known to have ended without a report."""
    job_uid: Annotated[str, Field(max_length=64)] | None = None
    """UID of that Job."""
    attempt: Count | None = None
    """How often the run's driver was started."""
    unreported: Count | None = None
    """Runs that ended without a report since anything was last committed."""


class ModelStatus(ResourceModel):
    """What was really loaded."""

    resolved_digest: Annotated[str, Field(max_length=71)] | None = None
    """Digest of the model's bytes."""
    execution_provider: Annotated[str, Field(max_length=64)] | None = None
    """ONNX Runtime execution provider that is active."""
    batch_size: Count | None = None
    """Rows per call of the model."""


class OutputStatus(ResourceModel):
    """What was published."""

    storage_uri: Uri | None = None
    """The output folder."""
    manifest_uri: Uri | None = None
    """The manifest, `_SUCCESS`, which lists every file."""
    rejects_uri: Uri | None = None
    """The dataset of rejected rows, if there are any."""
    files: Count | None = None
    """Files published."""
    bytes: Count | None = None
    """Their size."""


class ResourcesConsumed(ResourceModel):
    """What the job has used, all of its runs and attempts together."""

    cpu_seconds: Count | None = None
    """CPU time of drivers and scorers."""
    gpu_seconds: Count | None = None
    """Time for which scorers held GPUs; absent where none had one."""
    earlier_cpu_seconds: Count | None = None
    """The part of `cpuSeconds` that drivers used before the one that last reported."""
    earlier_gpu_seconds: Count | None = None
    """The part of `gpuSeconds`, likewise."""
    reported_by: Annotated[str, Field(max_length=64)] | None = None
    """UID of the pod that last reported."""


class PartialFailure(ResourceModel):
    """A sample of a rejected row, without its values."""

    file: Annotated[str, Field(max_length=1024)] | None = None
    """The file that holds the row."""
    row: Count | None = None
    """Number of the row in its file, counted from 0."""
    byte_offset: Count | None = None
    """Where the row begins, for text formats."""
    stage: Annotated[str, Field(max_length=64)] | None = None
    """Where it failed: Read, Filter, Preprocess, Bind, Infer, Postprocess or Write."""
    error: Annotated[str, Field(max_length=128)] | None = None
    """Class of the error."""
    message: Annotated[str, Field(max_length=512)] | None = None
    """What is wrong."""


class Condition(ResourceModel):
    """A condition as Kubernetes defines it."""

    type: Annotated[str, Field(max_length=316, json_schema_extra={"pattern": _TYPE_PATTERN})]
    """`Complete`, `Failed`, `Suspended`, `Reconciling`, `Stalled`, `InputsResolved`,
    `ModelVerified` or `SchemaValid`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that it is about."""
    last_transition_time: Instant
    """When `status` last changed."""
    reason: Annotated[
        str, Field(min_length=1, max_length=1024, json_schema_extra={"pattern": REASON_PATTERN})
    ]
    """Why, as one word for programs."""
    message: Annotated[str, Field(max_length=32768)]
    """Why, for people."""


class JobStatus(ResourceModel):
    """Where the job stands; written by the operator."""

    observed_generation: Annotated[int, Field(ge=-1)] | None = None
    """The generation of the spec that this status is about; -1: none yet."""
    phase: Phase | None = None
    """Where the job stands, for people. Programs read `conditions`."""
    start_time: Instant | None = None
    """When the job's pods were first made, or made again after `suspend` or after their queue had
    taken them back: where `activeDeadlineSeconds` counts from."""
    completion_time: Instant | None = None
    """When the job ended."""
    duration: Annotated[str, Field(max_length=32)] | None = None
    """How long the job took, or takes so far: `6m12s`."""
    progress: ProgressStatus | None = None
    """Rows scored so far, those in flight included."""
    completion_stats: CompletionStats | None = None
    """Rows of committed shards."""
    shards: ShardStatus | None = None
    """Shards by state."""
    workers: WorkerStatus | None = None
    """Pods of the run."""
    run: RunStatus | None = None
    """The current run."""
    model: ModelStatus | None = None
    """What was really loaded."""
    output: OutputStatus | None = None
    """What was published."""
    resources_consumed: ResourcesConsumed | None = None
    """What the job has used: the sum over all of its runs and attempts, as they told it while they
    ran. What an attempt that did not end by itself used in its last half minute may be missing."""
    partial_failures: Annotated[
        tuple[PartialFailure, ...],
        Field(max_length=MAX_SAMPLES, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """Samples of rejected rows; all of them are in the rejects dataset."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = ()
    """What programs wait for, such as `kubectl wait --for=condition=Complete`."""
