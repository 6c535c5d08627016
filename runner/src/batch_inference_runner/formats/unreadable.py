"""Rows of a row group or record batch that are lost together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_inference_runner.rows import CHUNK_ROWS, Chunk, Positions, UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


def unreadable_chunks(
    file: int, rows: range, *, empty: pa.Table, error: str, message: str
) -> Iterator[Chunk]:
    """Give `rows` of a file as unreadable, in chunks of the usual size.

    What is lost because memory ran out must not need more of it than its values would. `empty` is a
    table without rows.
    """
    for first in range(rows.start, rows.stop, CHUNK_ROWS):
        positions = np.arange(first, min(first + CHUNK_ROWS, rows.stop), dtype=np.int64)
        lost = UnreadableRows(positions, error, message)
        yield Chunk(file, empty, Positions(first=first), (lost,))
