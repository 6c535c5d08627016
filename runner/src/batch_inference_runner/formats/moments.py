"""Dates and timestamps that cannot be written as text, usually because their unit is wrong.

Arrow keeps the year of what it writes in 16 bits. If the year does not fit, as in nanoseconds that
were stored as microseconds, it writes `<value out of range: ...>`, or with a zone a wrong year.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from batch_inference_runner.formats.row_checks import RowCheck

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

_FIRST, _END = np.datetime64("-32767-01-01"), np.datetime64("32768-01-01")


def moment_checks(schema: pa.Schema, names: Iterable[str]) -> tuple[RowCheck, ...]:
    """Checks of those of the columns that may hold moments which cannot be written as text."""
    message = "a moment beyond the year 32767; is its unit right?"
    return tuple(
        RowCheck(name, _beyond_text, "OutOfRange", message)
        for name in names
        if _unit(schema.field(name).type) is not None
    )


def _beyond_text(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    unit = _unit(column.type)
    whole = column.cast(pa.int32()) if pt.is_date32(column.type) else column
    numbers: npt.NDArray[Any] = whole.cast(pa.int64()).fill_null(0).to_numpy()
    first, end = (limit.astype(f"M8[{unit}]").astype(np.int64) for limit in (_FIRST, _END))
    beyond: npt.NDArray[np.bool_] = (numbers < first) | (numbers >= end)
    return beyond


def _unit(kind: pa.DataType) -> str | None:
    """Return the unit of a moment; None for others, and where 64 bits hold no such year."""
    if pt.is_date32(kind):
        return "D"
    if pt.is_date64(kind):
        return "ms"
    if pt.is_timestamp(kind) and kind.unit != "ns":
        return str(kind.unit)
    return None
