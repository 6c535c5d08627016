"""A table as what the model takes: arrays per input, sliced into micro-batches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from batch_inference_runner.models.column_arrays import Problems, list_values, scalar_values
from batch_inference_runner.models.signature import DTYPES
from batch_inference_runner.rows import RowErrors, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from batch_inference_runner.models.binding import InputPlan
    from batch_inference_runner.rows import Indices

    Array = npt.NDArray[Any]
    Mask = npt.NDArray[np.bool_]

_LOOK_AT_VALUES = 1 << 16  # fits the cache; all rows at once could be gigabytes
_LOOK_AT_COLUMNS = 128  # in less than a millisecond


class Source(Protocol):
    """All rows of one input."""

    def rows(self, start: int, stop: int) -> Array:
        """Return rows [start, stop) in C order, valid until the same thread asks again."""

    def take(self, indices: Indices) -> Array:
        """Return copies of some rows, in C order."""

    def unlike(self, row: int) -> Indices:
        """Return a few rows that differ from this one, none only if all are the same."""


class Dense(NamedTuple):
    """An input whose rows already lie one after the other."""

    values: Array

    def rows(self, start: int, stop: int) -> Array:
        return self.values[start:stop]

    def take(self, indices: Indices) -> Array:
        return self.values[indices]

    def unlike(self, row: int) -> Indices:
        flat = _comparable(self.values.reshape(len(self.values), -1))
        size = max(1, _LOOK_AT_VALUES // max(1, flat.shape[1]))
        for start in range(0, len(flat), size):
            differs = flat[start : start + size] != flat[row]
            if differs.any():
                return _ends(differs) + start
        return np.empty(0, dtype=np.int64)


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
        return self._filled(self._buffer[: stop - start], slice(start, stop))

    def take(self, indices: Indices) -> Array:
        shape = (len(indices), len(self._columns))
        return self._filled(np.empty(shape, dtype=self._buffer.dtype), indices)

    def _filled(self, block: Array, rows: slice | Indices) -> Array:
        for position, column in enumerate(self._columns):
            block[:, position] = column[rows]
        return block

    def unlike(self, row: int) -> Indices:
        found: set[int] = set()
        for position, column in enumerate(map(_comparable, self._columns)):
            if found and position >= _LOOK_AT_COLUMNS:
                break
            differs = column != column[row]
            first = int(differs.argmax())
            if differs[first]:
                found |= {first, len(differs) - 1 - int(differs[::-1].argmax())}
        return np.array(sorted(found), dtype=np.int64)


class Feeds(NamedTuple):
    """`size` rows ready for the model.

    `kept` are their positions in the table, None for all of it; `errors` the rows that do not fit.
    """

    size: int
    sources: dict[str, Source]
    kept: Indices | None
    errors: tuple[RowErrors, ...]

    def rows(self, start: int, stop: int) -> dict[str, Array]:
        """Return the arrays of rows [start, stop), valid until the same thread asks again."""
        return {name: source.rows(start, stop) for name, source in self.sources.items()}

    def take(self, indices: Indices) -> dict[str, Array]:
        """Return the arrays of some rows, which stay valid."""
        return {name: source.take(indices) for name, source in self.sources.items()}

    def part(self, start: int, stop: int) -> Feeds:
        """Return rows [start, stop) as feeds of their own, valid as long as `rows` gives them."""
        sources: dict[str, Source] = {
            name: Dense(array) for name, array in self.rows(start, stop).items()
        }
        return Feeds(size=stop - start, sources=sources, kept=None, errors=())

    def unlike(self, row: int) -> Indices:
        """Return a few rows that differ from this one, none only if all are the same.

        Of every column (of very wide rows, of some) the first and the last row with another value,
        as a model may look at one column only.
        """
        return _distinct(*(source.unlike(row) for source in self.sources.values()))


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
            size=table.num_rows if kept is None else len(kept),
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


def _comparable(values: Array) -> Array:
    # Bits, as NaN is unlike itself.
    return values if values.dtype == object else values.view(f"u{values.itemsize}")


def _ends(differs: Mask) -> Indices:
    """Return, in order, the rows that are the first or last in any column to differ."""
    first = differs.argmax(axis=0)
    last = len(differs) - 1 - differs[::-1].argmax(axis=0)
    varies = differs[first, np.arange(len(first))]
    return _distinct(first[varies], last[varies])


def _distinct(*rows: Indices) -> Indices:
    # Not np.unique: that imports numpy.ma, for 10 ms of the first row's time.
    return np.array(sorted({row for some in rows for row in some.tolist()}), dtype=np.int64)
