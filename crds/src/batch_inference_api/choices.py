"""The closed sets of the runner contract, and limits that several of its readers keep.

Standard library only: a scorer needs these, and must not wait for pydantic to be imported.
"""

from enum import StrEnum

MAX_SAMPLES = 20
"""Rejected rows that a report and a status show."""


class DataFormat(StrEnum):
    """Formats that can be read and written."""

    PARQUET = "Parquet"
    CSV = "CSV"
    JSON_LINES = "JSONLines"
    ARROW = "Arrow"

    @property
    def is_text(self) -> bool:
        """Whether rows lie at byte offsets, and only reading tells how many there are."""
        return self in (DataFormat.CSV, DataFormat.JSON_LINES)


class Compression(StrEnum):
    """How output files are compressed."""

    NONE = "none"
    GZIP = "gzip"
    LZ4 = "lz4"
    SNAPPY = "snappy"
    ZSTD = "zstd"


COMPRESSIONS = {
    DataFormat.PARQUET: tuple(Compression),
    DataFormat.CSV: (Compression.NONE, Compression.GZIP, Compression.ZSTD),
    DataFormat.JSON_LINES: (Compression.NONE, Compression.GZIP, Compression.ZSTD),
    DataFormat.ARROW: (Compression.NONE, Compression.LZ4, Compression.ZSTD),
}
"""How files of each format can be compressed."""


class OutputMode(StrEnum):
    """What happens when the output location already holds a result."""

    ERROR_IF_EXISTS = "ErrorIfExists"
    OVERWRITE = "Overwrite"
    APPEND = "Append"


class OnError(StrEnum):
    """What happens to a row that cannot be scored."""

    FAIL = "Fail"
    SKIP = "Skip"
    DEAD_LETTER = "DeadLetter"


class NullPolicy(StrEnum):
    """What happens to a row whose model input is null."""

    REJECT = "Reject"
    NAN = "NaN"


class NonFinitePolicy(StrEnum):
    """What happens to a row whose score is NaN or infinite."""

    ALLOW = "Allow"
    REJECT = "Reject"


class NewlinesInValues(StrEnum):
    """Whether quoted CSV values may hold line breaks."""

    AUTO = "Auto"
    ALWAYS = "Always"
    NEVER = "Never"
