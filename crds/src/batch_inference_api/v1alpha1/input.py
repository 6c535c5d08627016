"""spec.input: the dataset that is scored."""

from typing import Annotated

from pydantic import Field

from batch_inference_api.choices import DataFormat, NewlinesInValues
from batch_inference_api.v1alpha1.names import ColumnName, Expression, SecretReference
from batch_inference_api.v1alpha1.resource import ResourceModel, Rule, matching
from batch_inference_api.v1alpha1.uri import SourceUri

_DELIMITER_PATTERN = r"^[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x7f]$"
"""ASCII, because rows are cut bytewise; but for NUL, LF, CR and the quote."""


class CsvSpec(ResourceModel):
    """How CSV is read."""

    delimiter: Annotated[
        str,
        Field(min_length=1, max_length=1, json_schema_extra={"pattern": _DELIMITER_PATTERN}),
        matching(_DELIMITER_PATTERN, "must be one ASCII character, and no quote or line break"),
    ] = ","
    """The one character between values: any of ASCII but a quote or a line break."""
    header: bool = True
    """Whether the first line holds the names of the columns; without it they are `f0`, `f1`, ..."""
    newlines_in_values: NewlinesInValues = NewlinesInValues.AUTO
    """Whether quoted values may hold line breaks, which decides where a large file can be cut into
    shards. `Auto`: local files are read once more to find out, files on object stores are not cut.
    `Always`: those are read once more as well. `Never`: every line break ends a row."""


class InputSpec(ResourceModel):
    """The dataset that is scored."""

    rules = (
        Rule(
            "!has(self.csv) || self.format == 'CSV'",
            "csv has an effect with format CSV only: remove it, or set format: CSV",
            lambda self: self.csv is None or self.format is DataFormat.CSV,
            "csv",
        ),
    )

    storage_uris: Annotated[
        tuple[SourceUri, ...],
        Field(
            min_length=1,
            max_length=256,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ]
    """Files, folders, or globs such as `s3://lake/customers/dt=*/*.parquet`. Folders are read with
    everything below; names that begin with `_` or `.` are skipped. `key=value` folders become
    columns."""
    format: DataFormat
    """Format of the files. Text formats may be compressed with gzip or zstd."""
    csv: CsvSpec | None = None
    """How CSV is read."""
    filter: Expression | None = None
    """SQL expression over the row; rows for which it is not true are not scored, and counted."""
    key_field: ColumnName | None = None
    """Column that identifies a row. Rejects hold its value, and so does the output unless
    `output.passthroughFields` lists other columns."""
    secret_ref: SecretReference | None = None
    """Credentials for `storageUris`. Without it the pod's own identity is used."""
