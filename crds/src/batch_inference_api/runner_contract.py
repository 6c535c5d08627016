"""What the operator tells a runner (`RunnerConfig`) and what a runner answers (`ProgressReport`).

The contract is apart from the resource's own versions: a runner never parses a custom resource, so
an operator may serve a newer `BatchInferenceJob` to an older runner as long as both speak the same
contract version. Writing is strict (every value is validated when it is set), reading is tolerant
(unknown fields are ignored), and an unknown contract version is refused.

Nothing in here does I/O. Annotations are evaluated, as in `v1alpha1`.
"""

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from batch_inference_api.camel_case import to_camel
from batch_inference_api.choices import (
    MAX_SAMPLES,
    DataFormat,
    NewlinesInValues,
    NonFinitePolicy,
    NullPolicy,
    OnError,
    OutputMode,
)

CONTRACT_VERSION = 1


class ContractVersionError(ValueError):
    """What the other side says is no document of a contract version that this package knows."""


class ContractSkewError(ContractVersionError):
    """It says to be of another contract version, so another release has written it."""


class ContractModel(BaseModel):
    """A frozen value, camelCase in JSON, snake_case in Python, tolerant of unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        extra="ignore",
        protected_namespaces=(),
        # A validator is built when it is first needed: a run that starts does not pay for reports.
        defer_build=True,
        hide_input_in_errors=True,
    )


class ContractDocument(ContractModel):
    """A value that crosses the wire as a whole, with the version of its contract."""

    contract_version: Literal[1] = 1

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read the JSON of one document.

        Raises:
            ContractSkewError: another contract version.
            ContractVersionError: not such a document.
        """
        try:
            raw = from_json(text)
        except ValueError as error:
            raise ContractVersionError(f"the {cls.__name__} is not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ContractVersionError(f"the {cls.__name__} is not a JSON object")
        version = raw.get("contractVersion", CONTRACT_VERSION)
        if type(version) is not int or version != CONTRACT_VERSION:
            raise ContractSkewError(
                f"runner contract version {version!r} is not supported: this package speaks "
                f"version {CONTRACT_VERSION}; use an operator and a runner image of one release"
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            found = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                for problem in error.errors(include_url=False, include_input=False)
            )
            raise ContractVersionError(f"the {cls.__name__} cannot be read: {found}") from error


class JobIdentity(ContractModel):
    """Whose run this is. The UID is information only: GitOps re-creates resources."""

    name: str
    namespace: str = "default"
    uid: str | None = None


class Location(ContractModel):
    """One URI with the folder that holds its credentials.

    `uri` is absolute: `file:///...`, `s3://...`, `gs://...`, `az://...` or `https://...`;
    `pvc://` was already mapped to a mount path. `credentials_dir` is a folder with one file per key
    (`AWS_ACCESS_KEY_ID`, ...); None means the environment's usual credential chain.
    """

    uri: str
    credentials_dir: str | None = None


class ModelInputBinding(ContractModel):
    """Which columns feed one input of the model."""

    name: str
    columns: tuple[str, ...]
    nulls: NullPolicy = NullPolicy.REJECT
    fill_value: str | None = None


class ModelOutputBinding(ContractModel):
    """Which output of the model becomes which column."""

    name: str
    column: str
    index: int | None = None
    class_label: str | None = None
    non_finite: NonFinitePolicy = NonFinitePolicy.ALLOW


class ModelConfig(ContractModel):
    """The model and how it is bound to columns."""

    location: Location
    digest: str | None = None
    """`sha256:<64 hex>`; verified before anything is scored."""
    inputs: tuple[ModelInputBinding, ...] = ()
    outputs: tuple[ModelOutputBinding, ...] = ()


class CsvOptions(ContractModel):
    """How CSV is read."""

    delimiter: str = ","
    header: bool = True
    newlines_in_values: NewlinesInValues = NewlinesInValues.AUTO


class InputConfig(ContractModel):
    """The dataset."""

    locations: tuple[Location, ...]
    format: DataFormat
    csv: CsvOptions = Field(default_factory=CsvOptions)
    filter: str | None = None
    key_field: str | None = None


class ComputedColumn(ContractModel):
    """One column computed by a SQL expression over the row."""

    name: str
    expression: str


class OutputConfig(ContractModel):
    """Where and how results are written."""

    location: Location
    format: DataFormat
    passthrough_fields: tuple[str, ...] = ()
    """Input columns copied to the output."""
    mode: OutputMode = OutputMode.ERROR_IF_EXISTS
    compression: str
    """A codec that the output format knows, as `output.compression` lists them."""
    partition_by: tuple[str, ...] = ()


class ShardingConfig(ContractModel):
    """How the dataset is cut."""

    target_rows_per_shard: int = 1_000_000
    target_bytes_per_shard: int = 256 * 1024 * 1024
    max_shards: int = 100_000


class ExecutionConfig(ContractModel):
    """How the model is run."""

    execution_providers: tuple[str, ...] = ("CPUExecutionProvider",)
    allow_provider_fallback: bool = False
    intra_op_num_threads: int = 1
    batch_size: int | None = None
    """Rows per call of the model; None: found by probing."""
    batch_timeout_seconds: int = 60
    """A call of the model that takes longer is killed, and its rows are isolated one by one."""


class ErrorPolicyConfig(ContractModel):
    """What happens to rows that fail."""

    on_error: OnError = OnError.DEAD_LETTER
    error_threshold: int = -1
    """The job fails when more rows than this are rejected; -1: no limit."""
    max_error_rate: str | None = None
    """A decimal between 0 and 1, judged after 10,000 rows and at the end."""


class BudgetConfig(ContractModel):
    """How often things may go wrong, and for how long they may take."""

    backoff_limit_per_shard: int = 3
    max_failed_shards: int = 0
    active_deadline_seconds: int | None = None


class WorkersConfig(ContractModel):
    """Pods (or local processes) that score, and what each may use."""

    replicas: int = 1
    cpu_millis: int | None = None
    memory_bytes: int | None = None
    gpus: int = 0


class RunConfig(ContractModel):
    """Which run of the job this is, and where its members meet."""

    number: int = 1
    head_address: str | None = None
    """Host and port of index 0's HTTP server as workers reach it; None: a run of one process."""
    token_path: str | None = None
    """File that holds the run's token, needed to `/join`."""


class RunnerConfig(ContractDocument):
    """Everything a runner needs to know, resolved: no defaults are left to be guessed."""

    job: JobIdentity
    run: RunConfig = Field(default_factory=RunConfig)
    model: ModelConfig
    input: InputConfig
    preprocessing: tuple[ComputedColumn, ...] = ()
    postprocessing: tuple[ComputedColumn, ...] = ()
    output: OutputConfig
    sharding: ShardingConfig = Field(default_factory=ShardingConfig)
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    error_policy: ErrorPolicyConfig = Field(default_factory=ErrorPolicyConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    workers: WorkersConfig = Field(default_factory=WorkersConfig)


class RunPhase(StrEnum):
    """What the driver is doing."""

    STARTING = "Starting"
    PLANNING = "Planning"
    RUNNING = "Running"
    FINALIZING = "Finalizing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INTERRUPTED = "Interrupted"


class RowCounts(ContractModel):
    """Rows of committed shards, and `processed`, which includes rows in flight."""

    total: int | None = None
    """Rows planned; None while unknown (text formats)."""
    processed: int = 0
    """High-water mark of rows scored, committed or in flight."""
    written: int = 0
    rejected: int = 0
    filtered: int = 0


class ShardCounts(ContractModel):
    """Shards by state; the four add up to `total`."""

    total: int = 0
    pending: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    completed_indexes: str = ""
    """Compressed ranges as in batch/v1 (`0-11,14`); empty above 1 KiB."""
    failed_indexes: str = ""


class RowFailure(ContractModel):
    """A sample of what was rejected; no values of the row, at most 20 in a report."""

    file: str
    row: int | None = None
    byte_offset: int | None = None
    stage: str
    error: str
    message: str


class ModelReport(ContractModel):
    """What was really loaded."""

    resolved_digest: str
    execution_provider: str
    batch_size: int


class OutputReport(ContractModel):
    """What was published."""

    storage_uri: str
    manifest_uri: str | None = None
    rejects_uri: str | None = None
    files: int = 0
    bytes: int = 0


class WorkerCounts(ContractModel):
    """Workers (pods, or local processes) that are wanted and that are scoring."""

    desired: int = 1
    ready: int = 0


class ProgressReport(ContractDocument):
    """Where a run stands: served at `/progress`, and left as the termination message at the end.

    Counts only: no path of the dataset but the output's own URI and at most 20 redacted samples in
    the *final* report, never a row.
    """

    job: JobIdentity
    run_number: int = 1
    attempt: int = 1
    phase: RunPhase = RunPhase.STARTING
    final: bool = False
    reason: str | None = None
    """Why the run failed; a condition reason of the resource."""
    message: str | None = None
    rows: RowCounts = Field(default_factory=RowCounts)
    shards: ShardCounts = Field(default_factory=ShardCounts)
    workers: WorkerCounts = Field(default_factory=WorkerCounts)
    percentage: int | None = None
    rows_per_second: int | None = None
    estimated_remaining_seconds: int | None = None
    idle_seconds: int | None = None
    """How long ago a row was last scored, or scored again; None before the first."""
    elapsed_seconds: int = 0
    cpu_seconds: int = 0
    gpu_seconds: int | None = None
    """None where no scorer has a GPU."""
    model: ModelReport | None = None
    output: OutputReport | None = None
    failures: tuple[RowFailure, ...] = Field(default=(), max_length=MAX_SAMPLES)

    @classmethod
    def parse_cut(cls, text: str) -> Self:
        """Read a report whose end may be missing: the kubelet cuts what many containers leave.

        The field in which it was cut is left out; of a message what is there is kept.

        Raises:
            ContractSkewError: another contract version.
            ContractVersionError: not such a document.
        """
        try:
            from_json(text)
        except ValueError:
            text = _without_cut_field(text)
        return cls.parse(text)


def _without_cut_field(text: str) -> str:
    try:
        fields = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return text
    if isinstance(fields, dict) and fields and next(reversed(fields)) != "message":
        fields.popitem()
    return to_json(fields).decode()
