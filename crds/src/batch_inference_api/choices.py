"""The closed sets of the runner contract.

Standard library only: a scorer needs these, and must not wait for pydantic to be imported.
"""

from enum import StrEnum


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
