"""Rows on their way through a scorer: the values that every stage takes and gives."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Indices = npt.NDArray[np.int64]

CHUNK_ROWS = 131_072
"""Readers give chunks of at most this many rows."""
MOST_UNIT_ROWS = 2**40
"""A row group or record batch that claims more is damaged."""


class Stage(StrEnum):
    """Where a row failed."""

    READ = "Read"
    FILTER = "Filter"
    PREPROCESS = "Preprocess"
    BIND = "Bind"
    INFER = "Infer"
    POSTPROCESS = "Postprocess"
    WRITE = "Write"


class RowErrors(NamedTuple):
    """Rows that failed for one reason.

    `indices` are int64 positions in the table that was given to the stage. `error` is a short class
    (`NullInput`, `Overflow`, ...), `message` says what is wrong without quoting values of the row.
    """

    indices: Indices
    stage: Stage
    error: str
    message: str


class StageResult(NamedTuple):
    """What a stage made of a table of n rows.

    `table` holds the rows that survived, in their order. `kept` are their int64 positions in the
    table given to the stage, or None if all n survived. Every position is in `kept`, in exactly one
    of `errors`, or (filters only) in neither.
    """

    table: pa.Table
    kept: Indices | None = None
    errors: tuple[RowErrors, ...] = ()


class Positions(NamedTuple):
    """Where the rows of a chunk stand in their file.

    Parquet and Arrow: the row number, counted from 0, which is `first + index`. Text formats: the
    byte offset of the row's first byte in the uncompressed file, from `offsets`.
    """

    first: int = 0
    offsets: Indices | None = None

    def at(self, indices: Indices) -> Indices:
        """Positions in the file of the rows at `indices` of the chunk."""
        return self.first + indices if self.offsets is None else self.offsets[indices]


class UnreadableRows(NamedTuple):
    """Rows that exist in the file but could not be read; `positions` as in `Positions`."""

    positions: Indices
    error: str
    message: str


class Chunk(NamedTuple):
    """Up to a few hundred thousand consecutive rows of one file, as a reader gives them."""

    file: int
    """Index into the plan's files."""
    table: pa.Table
    positions: Positions
    unreadable: tuple[UnreadableRows, ...] = ()

    def slice(self, start: int, stop: int) -> Chunk:
        """Take the rows [start, stop) of the table, and all that is unreadable."""
        offsets = self.positions.offsets
        positions = self.positions._replace(
            first=self.positions.first + start,
            offsets=None if offsets is None else offsets[start:stop],
        )
        table = self.table.slice(start, stop - start)
        return self._replace(table=table, positions=positions)
