"""What output files are called; no pyarrow, so that the driver may import it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from batch_inference_api.choices import COMPRESSIONS, DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES: Mapping[DataFormat, str] = MappingProxyType(
    {
        DataFormat.PARQUET: ".parquet",
        DataFormat.CSV: ".csv",
        DataFormat.JSON_LINES: ".jsonl",
        DataFormat.ARROW: ".arrow",
    }
)
_COMPRESSED_TEXT = MappingProxyType({"none": "", "gzip": ".gz", "zstd": ".zst"})


def file_extension(data_format: DataFormat, compression: str) -> str:
    """Return what names of output files end with: `.parquet`, `.csv.gz`, `.jsonl.zst`, `.arrow`.

    Raises InvalidJob(InvalidSpec) when the format does not know the compression.
    """
    codec = checked_compression(data_format, compression)
    return _NAMES[data_format] + (_COMPRESSED_TEXT[codec] if data_format.is_text else "")


def checked_compression(data_format: DataFormat, compression: str) -> str:
    """Return the codec in lower case. Raises InvalidJob(InvalidSpec) for one that does not fit."""
    codec = compression.lower()
    if codec not in COMPRESSIONS[data_format]:
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"{data_format.value} output cannot be compressed with {compression!r}: use one of "
            f"{', '.join(COMPRESSIONS[data_format])}",
        )
    return codec
