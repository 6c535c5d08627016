"""Arrays that the model returned, micro-batch by micro-batch, as Arrow columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models.calling import not_rowwise
from batch_inference_runner.models.column_arrays import bool_array, int64_array, string_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from batch_inference_runner.models.output_binding import OutputPlan

    Array = npt.NDArray[Any]
    Mask = npt.NDArray[np.bool_]


class Outputs:
    """Collects the outputs of `rows` rows and makes columns of them; for one thread."""

    def __init__(self, plans: Sequence[OutputPlan], rows: int) -> None:
        self._plans = tuple(plans)
        self._rows = rows
        self._collected: dict[str, Array] = {}
        self._one_by_one = True

    def put(self, start: int, stop: int, values: Mapping[str, Array]) -> None:
        """Take the outputs of rows [start, stop), whose first dimension is the row.

        Raises:
            JobFailed: ModelNotRowwise or ModelUnsupported, an output changes its shape.
        """
        self._one_by_one = self._one_by_one and stop - start == 1
        for name, value in values.items():
            collected = self._collected.get(name)
            if collected is None:
                shape = (self._rows, *value.shape[1:])
                collected = self._collected[name] = _empty(shape, value.dtype)
            if collected.shape[1:] != value.shape[1:]:
                raise self._changes_shape(name, collected.shape[1:], value.shape[1:])
            collected[start:stop] = value

    def rows(self, start: int, stop: int) -> dict[str, Array]:
        """Return what was put of rows [start, stop)."""
        return {name: values[start:stop] for name, values in self._collected.items()}

    def _changes_shape(self, name: str, one: tuple[int, ...], other: tuple[int, ...]) -> JobFailed:
        if not self._one_by_one:
            return not_rowwise(f"the shape of output {name!r} changes from batch to batch")
        return JobFailed(
            Reason.MODEL_UNSUPPORTED,
            f"output {name!r} has shape {list(one)} for one row and shape {list(other)} for "
            "another, but a column takes one shape; export the model so that all rows get the "
            "same, filled up if need be, or list the other outputs in spec.model.outputs",
        )

    def columns(self, kept: npt.NDArray[np.int64] | None) -> list[pa.Array]:
        """Return one array per planned column, of the rows `kept` or of all.

        Raises:
            JobFailed: SchemaMismatch, a class label or index that the model does not return.
        """
        return [_column(plan, self._values(plan.output, kept)) for plan in self._plans]

    def non_finite(self, plan: OutputPlan) -> Mask | None:
        """Return which rows are NaN or infinite in a column, None if none is."""
        values = self._values(plan.output, None)
        if not len(values):
            return None  # no row was scored at all
        if values.dtype == object:
            if pt.is_string(_innermost(plan.type)):
                return None
            return np.array([_has_non_finite(plan, entry) for entry in values], dtype=np.bool_)
        if values.dtype.kind != "f":
            return None
        if plan.position is not None:
            values = _picked(plan, values)
        wrong = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        return np.asarray(wrong) if wrong.any() else None

    def _values(self, name: str, kept: npt.NDArray[np.int64] | None) -> Array:
        values = self._collected.get(name)
        if values is None:
            return np.empty((0,), dtype=np.float32)
        return values if kept is None else values[kept]


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.zeros(shape, dtype=object if dtype.kind in "OU" else dtype)


def _column(plan: OutputPlan, values: Array) -> pa.Array:
    rows = len(values)
    if rows == 0:
        return pa.nulls(0, type=plan.type)
    if pt.is_map(plan.type):
        return _map_column(plan, values)
    if plan.label is not None:
        return _class_column(plan, values)
    if plan.position is not None:
        values = _picked(plan, values)
    levels = _list_sizes(plan, values)
    array = _flat(values.reshape(-1), _innermost(plan.type))
    for depth in reversed(range(len(levels))):
        array = _lists(array, rows * math.prod(levels[:depth]), levels[depth])
    return array


def _picked(plan: OutputPlan, values: Array) -> Array:
    matrix = values.reshape(len(values), -1)
    index = plan.position or 0
    if index >= matrix.shape[1]:
        raise JobFailed(
            Reason.SCHEMA_MISMATCH,
            f"spec.model.outputs picks index {index} of output {plan.output!r}, which holds "
            f"{matrix.shape[1]} value(s) a row",
        )
    return np.ascontiguousarray(matrix[:, index])


def _list_sizes(plan: OutputPlan, values: Array) -> tuple[int, ...]:
    """Return the sizes of the nested lists that the planned type has."""
    type_, depth = plan.type, 0
    while pt.is_list(type_):
        type_, depth = type_.value_type, depth + 1
    if depth == 0 and math.prod(values.shape[1:]) == 1:
        return ()
    if len(values.shape) - 1 != depth:
        raise JobFailed(
            Reason.MODEL_UNSUPPORTED,
            f"output {plan.output!r} is declared as {plan.type} a row, but the model returns shape "
            f"{list(values.shape[1:])}; export the model with correct output shapes",
        )
    return tuple(values.shape[1:])


def _innermost(type_: pa.DataType) -> pa.DataType:
    while pt.is_list(type_):
        type_ = type_.value_type
    return type_


def _lists(values: pa.Array, rows: int, size: int) -> pa.ListArray:
    offsets = np.arange(rows + 1, dtype=np.int64) * size
    if offsets[-1] > np.iinfo(np.int32).max:
        raise JobFailed(
            Reason.MODEL_UNSUPPORTED,
            f"{rows} rows with {size} values each do not fit one column of 2^31 values; "
            "set a smaller spec.sharding.targetRowsPerShard",
        )
    return pa.ListArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), rows + 1, [None, pa.py_buffer(offsets.astype(np.int32))]),
        values,
    )


def _flat(values: Array, type_: pa.DataType) -> pa.Array:
    if pt.is_string(type_):
        return string_array(values.tolist())
    if pt.is_boolean(type_):
        return bool_array(values)
    return pa.Array.from_buffers(
        type_, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


def _class_column(plan: OutputPlan, values: Array) -> pa.Array:
    try:
        picked = np.fromiter((entry[plan.label] for entry in values), np.float32, len(values))
        return _flat(picked, plan.type)
    except KeyError as error:
        raise JobFailed(
            Reason.SCHEMA_MISMATCH,
            f"spec.model.outputs picks class {plan.label!r} of output {plan.output!r}, which has "
            f"none of that name; its classes are {', '.join(map(repr, values[0]))}",
        ) from error


def _map_column(plan: OutputPlan, values: Array) -> pa.Array:
    lengths = np.fromiter((len(entry) for entry in values), dtype=np.int64, count=len(values))
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    names = [key for entry in values for key in entry]
    texts = pt.is_string(plan.type.key_type)
    keys = string_array(names) if texts else int64_array(np.array(names, dtype=np.int64))
    scores = [item for entry in values for item in entry.values()]
    items = _flat(np.array(scores, dtype=np.float32), plan.type.item_type)
    return pa.MapArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(offsets), [None, pa.py_buffer(offsets)]), keys, items
    )


def _has_non_finite(plan: OutputPlan, entry: dict[Any, float] | int) -> bool:
    if isinstance(entry, int):
        return False  # the zero of a row that failed
    picked = entry.values() if plan.label is None else [entry.get(plan.label, 0.0)]
    return not all(math.isfinite(value) for value in picked)
