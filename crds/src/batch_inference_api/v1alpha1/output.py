"""spec.output: where and how results are written."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from batch_inference_api.choices import COMPRESSIONS, Compression, DataFormat, OutputMode
from batch_inference_api.v1alpha1.names import ColumnName, SecretReference
from batch_inference_api.v1alpha1.resource import ResourceModel, Rule, find_doubles
from batch_inference_api.v1alpha1.uri import TargetUri

DEFAULT_COMPRESSIONS = {
    DataFormat.PARQUET: Compression.ZSTD,
    DataFormat.CSV: Compression.NONE,
    DataFormat.JSON_LINES: Compression.NONE,
    DataFormat.ARROW: Compression.NONE,
}


def _compression_rule(formats: tuple[DataFormat, ...]) -> Rule:
    codecs = COMPRESSIONS[formats[0]]
    listed = ", ".join(f"'{codec}'" for codec in codecs)
    formats_listed = ", ".join(f"'{name}'" for name in formats)
    return Rule(
        f"!(self.format in [{formats_listed}]) || !has(self.compression)"
        f" || self.compression in [{listed}]",
        f"format {' and '.join(formats)} can be compressed with {', '.join(codecs)} only",
        lambda self: (
            self.format not in formats or self.compression is None or self.compression in codecs
        ),
        "compression",
    )


class OutputSpec(ResourceModel):
    """Where and how results are written."""

    rules = (
        _compression_rule((DataFormat.CSV, DataFormat.JSON_LINES)),
        _compression_rule((DataFormat.ARROW,)),
    )

    storage_uri: TargetUri
    """The folder that receives the results. It is complete when `_SUCCESS` is there, which lists
    every file."""
    format: DataFormat = DataFormat.PARQUET
    """Format of the files."""
    passthrough_fields: Annotated[
        tuple[ColumnName, ...],
        Field(max_length=4096, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Columns of the input that are copied to the output. Without it `input.keyField` only."""
    mode: OutputMode = OutputMode.ERROR_IF_EXISTS
    """What happens when the folder holds a result already: `ErrorIfExists` refuses to run,
    `Overwrite` replaces it once the new one is complete, `Append` adds to it, if its format,
    columns and partitions are the same. A result of the very same job is complete already: nothing
    is scored again."""
    compression: Compression | None = None
    """How files are compressed: `zstd` for Parquet, `none` otherwise. Parquet takes `none`,
    `gzip`, `lz4`, `snappy` or `zstd`; CSV and JSONLines `none`, `gzip` or `zstd`; Arrow `none`,
    `lz4` or `zstd`."""
    partition_by: Annotated[
        tuple[ColumnName, ...],
        Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Columns of the output that become `key=value` folders, outermost first. Empty text reads
    back as null. The rows of one shard may go to at most 1,024 folders, else the job fails:
    partition by columns with fewer values, or lower `spec.sharding.targetRowsPerShard`."""
    secret_ref: SecretReference | None = None
    """Credentials for `storageUri`. Without it the pod's own identity is used."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        for field, names in (
            ("passthroughFields", self.passthrough_fields),
            ("partitionBy", self.partition_by),
        ):
            for name in find_doubles(names):
                yield field, f"column {name!r} is named twice (case does not count)"
