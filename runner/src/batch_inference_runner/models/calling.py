"""One call of the model for any number of rows; isolator processes use it too (numpy only)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from batch_inference_runner.models.onnx import OnnxModel

    Array = npt.NDArray[Any]


class Call(Protocol):
    """Scores rows: arrays by input name to arrays by output name, first dimension = row."""

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Raise InferenceFailed if a row cannot be scored, JobFailed if the model is unfit."""


class ModelCall:
    """Calls a model with any number of rows, also one whose batch dimension is fixed.

    `fixed_batch` is how many rows every call takes; None: any number. Where it is 1, all that a
    call gives is the row's, also without a dimension for the row.
    """

    def __init__(
        self, model: OnnxModel, outputs: Sequence[str], *, fixed_batch: int | None = None
    ) -> None:
        self._model = model
        self._outputs = list(dict.fromkeys(outputs))
        self._fixed_batch = fixed_batch

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        rows = len(next(iter(feeds.values())))
        if self._fixed_batch is None or rows == self._fixed_batch:
            return self._call(feeds, rows)
        parts = [
            self._padded({name: array[start:] for name, array in feeds.items()}, rows - start)
            for start in range(0, rows, self._fixed_batch)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _padded(self, feeds: Mapping[str, Array], left: int) -> dict[str, Array]:
        size = self._fixed_batch or 1
        # Copies of the last row: zeros could be a value that the model refuses.
        missing = max(0, size - left)
        full = {
            name: np.concatenate([array[:size], np.repeat(array[-1:], missing, axis=0)])
            for name, array in feeds.items()
        }
        return {name: value[:left] for name, value in self._call(full, size).items()}

    def _call(self, feeds: Mapping[str, Array], rows: int) -> dict[str, Array]:
        values = self._model.run(self._outputs, feeds)
        alone = self._fixed_batch == 1
        return {
            name: checked_rows(name, value, rows, alone=alone)
            for name, value in zip(self._outputs, values, strict=True)
        }


def checked_rows(name: str, value: Any, rows: int, *, alone: bool) -> Array:
    """Return an output as an array whose first dimension is the row.

    `alone`: the model is never called with more than one row.

    Raises:
        JobFailed: ModelNotRowwise, the output does not have one entry a row.
    """
    if isinstance(value, list):
        array = np.empty(len(value), dtype=object)
        array[:] = value
    else:
        array = with_row_dimension(np.asarray(value), rows, alone=alone)
    if array.ndim == 0 or len(array) != rows:
        count = "one value" if array.ndim == 0 else f"{len(array)} rows"
        raise not_rowwise(
            f"output {name!r} has {count} for {rows} row(s)",
            "If only this output is so, list the others in spec.model.outputs. Else export",
            one_by_one=rows > 1,
        )
    return array


def with_row_dimension(array: Array, rows: int, *, alone: bool) -> Array:
    """Return what a call gave with the dimension that a model may have squeezed out of one row."""
    lost = array.ndim == 0 or (alone and len(array) > 1)
    return array[np.newaxis] if rows == 1 and lost else array


def not_rowwise(what: str, todo: str = "Export", *, one_by_one: bool = True) -> JobFailed:
    """Build the error for a model whose outputs do not belong to single rows.

    `one_by_one` says whether single rows may still be scored correctly.
    """
    way_out = "; if single rows are scored correctly, set spec.batching.batchSize: 1"
    return JobFailed(
        Reason.MODEL_NOT_ROWWISE,
        f"the model does not score row by row: {what}. {todo} it so that every row's score depends "
        f"on that row only{way_out if one_by_one else ''}",
    )
