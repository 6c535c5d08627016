"""A table as what the model takes: arrays per input, sliced into micro-batches."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from batch_inference_runner.models.column_arrays import Problems, list_values, scalar_values
from batch_inference_runner.models.signature import DTYPES
from batch_inference_runner.rows import Indices, RowErrors, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from batch_inference_runner.models.binding import InputPlan

Array = npt.NDArray[Any]


class Source(Protocol):
    """All rows of one input."""

    def rows(self, start: int, stop: int) -> Array:
        """Return rows [start, stop) in C order, valid until the same thread asks again."""


@dataclass(frozen=True, slots=True)
class Dense:
    """An input whose rows already lie one after the other."""

    values: Array

    def rows(self, start: int, stop: int) -> Array:
        return self.values[start:stop]


class Interleaved:
    """An input [N, k] from k columns, turned into rows one micro-batch at a time.

    The buffer is reused: it stays in the cache between being filled and being read by the model,
    which is twice as fast as turning a whole chunk at once.
    """

    def __init__(self, columns: Sequence[Array], buffer: Array) -> None:
        self._columns = columns
        self._buffer = buffer

    def rows(self, start: int, stop: int) -> Array:
        if len(self._buffer) < stop - start:
            self._buffer = np.empty((stop - start, len(self._columns)), dtype=self._buffer.dtype)
        block = self._buffer[: stop - start]
        for position, column in enumerate(self._columns):
            block[:, position] = column[start:stop]
        return block


@dataclass(frozen=True, slots=True)
class Feeds:
    """`count` rows ready for the model.

    `kept` are their positions in the table, None for all of it; `errors` the rows that do not fit.
    """

    count: int
    sources: dict[str, Source]
    kept: Indices | None
    errors: tuple[RowErrors, ...]

    def rows(self, start: int, stop: int) -> dict[str, Array]:
        """Return the arrays of rows [start, stop), valid until the same thread asks again."""
        return {name: source.rows(start, stop) for name, source in self.sources.items()}


class FeedMaker:
    """Turns tables into feeds; safe to use from several threads."""

    def __init__(self, plans: Sequence[InputPlan], *, block_rows: int) -> None:
        self._plans = tuple(plans)
        self._block_rows = block_rows
        self._buffers = threading.local()

    def make(self, table: pa.Table) -> Feeds:
        """Convert the bound columns of `table`; one `Feeds` a thread may be in use at a time."""
        problems = Problems(rows=table.num_rows)
        arrays = [_arrays(plan, table, problems) for plan in self._plans]
        kept = None
        if problems.bad is not None and problems.bad.any():
            kept = np.flatnonzero(~problems.bad)
            arrays = [[array[kept] for array in of_plan] for of_plan in arrays]
        return Feeds(
            count=table.num_rows if kept is None else len(kept),
            sources={
                plan.name: self._source(plan, of_plan)
                for plan, of_plan in zip(self._plans, arrays, strict=True)
            },
            kept=kept,
            errors=tuple(
                RowErrors(np.flatnonzero(mask), Stage.BIND, error, message)
                for mask, error, message in problems.found
            ),
        )

    def _source(self, plan: InputPlan, arrays: list[Array]) -> Source:
        if len(arrays) == 1:
            values = np.ascontiguousarray(arrays[0])
            return Dense(values.reshape(len(values), *plan.trailing))
        buffers: dict[str, Array] = self._buffers.__dict__
        if plan.name not in buffers:
            buffers[plan.name] = np.empty(
                (self._block_rows, len(arrays)), dtype=DTYPES[plan.element]
            )
        return Interleaved(arrays, buffers[plan.name])


def _arrays(plan: InputPlan, table: pa.Table, problems: Problems) -> list[Array]:
    if plan.lists:
        return [
            list_values(
                table.column(plan.columns[0]),
                plan.trailing,
                name=plan.columns[0],
                element=plan.element,
                fill=plan.fill,
                problems=problems,
            )
        ]
    return [
        scalar_values(
            table.column(name), name=name, element=plan.element, fill=plan.fill, problems=problems
        )
        for name in plan.columns
    ]
