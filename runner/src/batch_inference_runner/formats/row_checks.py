"""Rows that a format can hold as a type, but not with the value that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from batch_inference_runner.rows import RowErrors, Stage, StageResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]


class RowCheck(NamedTuple):
    """What the values of a column must not be; `find` marks the n rows whose value is."""

    column: str
    find: Callable[[pa.ChunkedArray], Mask]
    error: str
    message: str


def reject_unwritable(table: pa.Table, checks: Sequence[RowCheck]) -> StageResult:
    """Reject the rows of a table that a check finds."""
    errors: list[RowErrors] = []
    lost = np.zeros(table.num_rows, np.bool_)
    for check in checks:
        found = check.find(table.column(check.column)) & ~lost
        if found.any():
            message = f"column {check.column!r}: {check.message}"
            errors.append(RowErrors(np.flatnonzero(found), Stage.WRITE, check.error, message))
            lost |= found
    if not errors:
        return StageResult(table)
    kept = np.flatnonzero(~lost)
    return StageResult(table.take(pa.array(kept)), kept, tuple(errors))
