"""From a config and files to compiled stages, and back to what the plan says about them.

`details` is the part of a plan that only a scorer can find out; to the driver it is opaque JSON.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batch_inference_api.choices import DataFormat, NullPolicy
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed
from batch_inference_runner.formats.columns import with_floats
from batch_inference_runner.formats.inspection import inspect
from batch_inference_runner.formats.reading import ShardReader, open_reader
from batch_inference_runner.formats.writable import check_writable
from batch_inference_runner.score.stages import Stages
from batch_inference_runner.storage.location import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.formats.inspection import Inspection
    from batch_inference_runner.formats.read_ahead import Watched
    from batch_inference_runner.models.model_file import ModelFile
    from batch_inference_runner.plan.plan import InputFile
    from batch_inference_runner.storage.store import RandomAccess

_OTHER_DELIMITERS = (";", "\t", "|", ",")


def opener(config: RunnerConfig) -> Callable[[InputFile], RandomAccess]:
    """Open files of the dataset with the credentials of the location they were listed under."""

    def open_input(file: InputFile) -> RandomAccess:
        location = config.input.locations[file.location]
        return open_file(
            file.uri,
            credentials_dir=location.credentials_dir,
            size=file.size,
            version=file.version,
        )

    return open_input


def inspect_inputs(
    config: RunnerConfig, files: Sequence[InputFile], *, on_open: Callable[[], None]
) -> Inspection:
    """Read what the files say about themselves; `on_open` is called before each is opened.

    Raises InvalidJob.
    """
    open_input = opener(config)

    def open_next(file: InputFile) -> RandomAccess:
        on_open()
        return open_input(file)

    return inspect(
        files,
        open_next,
        format=config.input.format,
        csv=config.input.csv,
        target_bytes=config.sharding.target_bytes_per_shard,
        numbers=_numbers(config),
        key=config.input.key_field,
    )


def _numbers(config: RunnerConfig) -> frozenset[str]:
    """Name the columns whose nulls are scored as NaN, which only inputs of numbers have.

    A key is what its text says: as a number it could lose digits.
    """
    bindings = (item for item in config.model.inputs if item.nulls == NullPolicy.NAN)
    columns = (column for item in bindings for column in item.columns)
    return frozenset(column for column in columns if column != config.input.key_field)


def compile_stages(
    config: RunnerConfig, schema: pa.Schema, model: ModelFile, *, memory_bytes: int
) -> Stages:
    """Load the model, bind it to the columns, compile SQL. Raises InvalidJob, JobFailed."""
    try:
        stages = Stages(config, schema, model, memory_bytes=memory_bytes)
    except InvalidJob as error:
        if config.input.format == DataFormat.CSV and error.reason == Reason.SCHEMA_MISMATCH:
            raise InvalidJob(error.reason, _delimiter_hint(schema) + error.message) from error
        raise
    check_writable(
        stages.output_schema, config.output.format, partition_by=config.output.partition_by
    )
    return stages


def _delimiter_hint(schema: pa.Schema) -> str:
    """Say which delimiter the only name of a header seems to hold; nothing if it holds none."""
    only = schema.names[0] if len(schema) == 1 else ""
    found = next((character for character in _OTHER_DELIMITERS if character in only), None)
    if found is None:
        return ""
    return (
        f"the header is one name, {only!r}: set spec.input.csv.delimiter to {json.dumps(found)} if "
        "that separates names; "
    )


def schema_to_read(config: RunnerConfig, schema: pa.Schema, stages: Stages) -> pa.Schema:
    """Let whole numbers of text be floats where nothing but inputs of floats takes them.

    Types of text come from samples: a fraction in a later row must not cost that row.
    """
    return with_floats(schema, stages.float_columns) if config.input.format.is_text else schema


def reader_for(
    config: RunnerConfig,
    schema: pa.Schema,
    files: Sequence[InputFile],
    columns: Sequence[str],
    *,
    watched: Watched,
) -> ShardReader:
    """Open a reader of these columns; `watched` as in open_reader."""
    return open_reader(
        config.input.format,
        files=files,
        open_file=opener(config),
        schema=schema,
        columns=columns,
        csv=config.input.csv,
        watched=watched,
        key=config.input.key_field,
    )


def details_of(schema: pa.Schema, stages: Stages) -> dict[str, Any]:
    """Make the plan's details: what decides which bytes come out, and what people want to read."""
    return {
        "modelDigest": stages.digest,
        "inputSchema": _encoded(schema),
        "outputSchema": _encoded(stages.output_schema),
        "columnsRead": list(stages.columns),
        "modelInputs": [
            {"name": plan.name, "type": plan.element, "columns": list(plan.columns)}
            for plan in stages.model.inputs
        ],
        "outputColumns": [f"{field.name}: {field.type}" for field in stages.output_schema],
        "batchSize": stages.model.batch_size,
    }


def check_details(details: dict[str, Any], schema: pa.Schema, stages: Stages) -> None:
    """Refuse to resume a plan with another model or with columns that came out differently.

    Raises:
        JobFailed: MODEL_DIGEST_MISMATCH, VERSION_SKEW.
    """
    now = details_of(schema, stages)
    if now["modelDigest"] != details["modelDigest"]:
        raise JobFailed(
            Reason.MODEL_DIGEST_MISMATCH,
            f"the output was planned with model {details['modelDigest']}, but the file is now "
            f"{now['modelDigest']}; restore the model, or start anew with another output",
        )
    # As types, not as bytes: the name that Parquet gives to the values of maps is not written.
    if not _decoded(details["outputSchema"]).equals(stages.output_schema):
        raise JobFailed(
            Reason.VERSION_SKEW,
            "this version of the runner would write other columns than the plan says; resume with "
            "the version that began, or start anew with another output",
        )


def schema_of(details: dict[str, Any]) -> pa.Schema:
    """Read the input schema back from a plan's details."""
    return _decoded(details["inputSchema"])


def _encoded(schema: pa.Schema) -> str:
    return base64.b64encode(schema.remove_metadata().serialize()).decode()


def _decoded(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
