"""What real rows say: whether a model scores row by row, and how many at once is fastest."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from batch_inference_runner.models.calling import not_rowwise
from batch_inference_runner.models.feeds import Dense
from batch_inference_runner.models.onnx import InferenceFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_runner.models.calling import Call
    from batch_inference_runner.models.feeds import Feeds

Array = npt.NDArray[Any]

PROBE_ROWS = 8192
DEFAULT_BATCH_SIZE = 1024

_CHECKED_ROWS = 3
_TRIED_ROWS = 16
_CHECK_BATCH = 64
_SLOW_ROW_SECONDS = 0.002
_SLOW_CALL_SECONDS = 0.5
_BUDGET_SECONDS = 0.03
_CLEARLY_FASTER = 1.15  # two calls a size are not exact
_SIZES = (64, 256, 512, 1024, 2048, 4096, 8192)
_MAX_BATCH_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two scores of the same row may lie apart: relative, and relative to the largest."""

    relative: float
    of_largest: float
    exact_discrete: bool = True
    """Whether integers and strings must be equal; coarse models flip labels at ties."""


FLOAT32 = Tolerance(1e-4, 1e-5)
FLOAT16 = Tolerance(1e-2, 5e-3, exact_discrete=False)
QUANTIZED = Tolerance(5e-2, 5e-2, exact_discrete=False)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was compared: the seconds that one row takes alone, and whether the rows differed."""

    row_seconds: float
    differed: bool


def can_tell(feeds: Feeds) -> bool:
    """Say if these are as many rows as `check_rowwise` takes, and not all alike."""
    return feeds.count >= most_checked(feeds) and len(feeds.unlike(0)) > 0


def rows_that_tell(feeds: Feeds, *, row_seconds: float) -> int:
    """Return how many rows, not all alike, say whether a model scores row by row.

    Of larger tables `check_rowwise` compares no more of them, either.
    """
    return _CHECKED_ROWS if row_seconds >= _SLOW_ROW_SECONDS else most_checked(feeds)


def check_rowwise(call: Call, feeds: Feeds, tolerance: Tolerance) -> Checked | None:
    """Compare rows scored alone with the same rows scored together.

    Rows that cannot be scored alone are passed over. The rows lie all over the table, and those
    that differ from the first one come first: beside its like no row's score changes. Returns None
    if there were no two rows to compare.

    Raises:
        JobFailed: ModelNotRowwise.
    """
    first = _first_alone(call, feeds)
    if first is None:
        return None
    rows = _rows_to_check(feeds, first.row)
    sample = feeds.take(np.array(rows))
    alone = [replace(first, row=0)]
    for row in range(1, min(len(rows), _TRIED_ROWS)):
        if len(alone) < _CHECKED_ROWS and (scored := _alone(call, _picked(sample, [row]), row)):
            alone.append(scored)
    if len(alone) == 1:
        return None
    differed = False
    for count in range(2, len(alone) + 1):
        differed |= _compare(call, sample, alone[:count], tolerance)
    seconds = min(scored.seconds for scored in alone)
    if seconds < _SLOW_ROW_SECONDS and len(rows) > _CHECKED_ROWS:
        known = {scored.row for scored in alone}
        others = [row for row in range(len(rows)) if row not in known]
        differed |= _compare(call, sample, alone, tolerance, others)
    return Checked(seconds, differed)


@dataclass(frozen=True, slots=True)
class _Alone:
    """What a row gives when it is scored alone, and how long that takes."""

    row: int
    outputs: dict[str, Array]
    seconds: float


def _first_alone(call: Call, feeds: Feeds) -> _Alone | None:
    for row in _spread(feeds.count, _TRIED_ROWS):
        if scored := _alone(call, feeds.take(np.array([row])), row):
            return scored
    return None


def _alone(call: Call, feed: dict[str, Array], row: int) -> _Alone | None:
    started = time.perf_counter()
    try:
        outputs = call(feed)
    except InferenceFailed:
        return None
    return _Alone(row, outputs, time.perf_counter() - started)


def _rows_to_check(feeds: Feeds, first: int) -> list[int]:
    """Return different rows, as many as are scored together: `first`, its unlikes, then others."""
    size = most_checked(feeds)
    unlike = feeds.unlike(first)
    unlike = unlike[_spread(len(unlike), _CHECK_BATCH // 2)]
    rows = dict.fromkeys([first, *unlike.tolist(), *_spread(feeds.count, size)])
    return list(rows)[:size]


def most_checked(feeds: Feeds) -> int:
    """Return how many rows are compared at most: fewer where they are wide."""
    return min(_CHECK_BATCH, max(_CHECKED_ROWS, _MAX_BATCH_BYTES // _row_bytes(feeds)))


def _row_bytes(feeds: Feeds) -> int:
    return max(1, sum(array.nbytes for array in feeds.rows(0, 1).values()))


def _spread(count: int, wanted: int) -> list[int]:
    """Return that many row numbers, fewer if there are not as many rows, evenly apart."""
    size = min(count, wanted)
    return [index * count // size for index in range(size)]


def find_batch_size(call: Call, feeds: Feeds, *, row_seconds: float) -> int:
    """Find how many rows a call should take, within a few dozen milliseconds.

    Small models are fastest while a micro-batch fits the cache, about a thousand rows; for slow
    ones the batch hardly matters and small ones keep memory and latency low.
    """
    if row_seconds > _SLOW_ROW_SECONDS:
        fits = [size for size in (32, 16, 8) if size * row_seconds <= _SLOW_CALL_SECONDS]
        return fits[0] if fits else (4 if row_seconds < 1 else 1)
    largest = max(1, min(_SIZES[-1], _MAX_BATCH_BYTES // _row_bytes(feeds)))
    measured = _measured(call, feeds, largest=min(largest, feeds.count), row_seconds=row_seconds)
    if not measured or feeds.count < DEFAULT_BATCH_SIZE:
        return min(DEFAULT_BATCH_SIZE, largest)  # too little to tell
    limit = _CLEARLY_FASTER * min(measured.values())
    if measured.get(DEFAULT_BATCH_SIZE, math.inf) <= limit:
        return DEFAULT_BATCH_SIZE
    return min(size for size, seconds in measured.items() if seconds <= limit)


def _measured(call: Call, feeds: Feeds, *, largest: int, row_seconds: float) -> dict[int, float]:
    """Return seconds per row by batch size, of as many sizes as the budget allows.

    Beyond the default sizes are tried only as long as each is clearly faster than the one before.
    """
    per_row: dict[int, float] = {}
    before = math.inf
    spent = 0.0
    for size in (size for size in _SIZES if size <= largest):
        expected = 2 * size * min(per_row.values(), default=row_seconds / 4)
        if per_row and spent + expected > _BUDGET_SECONDS:
            break
        best, seconds = _timed(call, feeds, size)
        spent += seconds
        if not math.isfinite(best):
            break
        per_row[size] = best / size
        if size > DEFAULT_BATCH_SIZE and _CLEARLY_FASTER * per_row[size] > before:
            break
        before = per_row[size]
    return per_row


def _timed(call: Call, feeds: Feeds, size: int) -> tuple[float, float]:
    """Return the best of two calls and the seconds spent; infinity if a row cannot be scored."""
    times = []
    for _ in range(2):
        started = time.perf_counter()
        try:
            call(feeds.rows(0, size))
        except InferenceFailed:
            return math.inf, time.perf_counter() - started
        times.append(time.perf_counter() - started)
    return min(times), sum(times)


def _picked(sample: dict[str, Array], rows: Sequence[int]) -> dict[str, Array]:
    return {name: array[rows] for name, array in sample.items()}


def _compare(
    call: Call,
    sample: dict[str, Array],
    alone: Sequence[_Alone],
    tolerance: Tolerance,
    others: Sequence[int] = (),
) -> bool:
    """Require of rows scored together, and with `others`, what they give alone.

    Say if any of these rows differ, that is, if their scores could have changed.
    """
    rows = [*(scored.row for scored in alone), *others]
    picked = _picked(sample, rows)
    try:
        together = call(picked)
    except InferenceFailed:
        return False
    for name, values in together.items():
        for place, scored in enumerate(alone):
            if not _same(values[place : place + 1], scored.outputs[name], tolerance):
                raise not_rowwise(
                    f"output {name!r} of a row changes when it is scored with {len(rows) - 1} "
                    "others"
                )
    return any(len(Dense(array).unlike(0)) for array in picked.values())


def _same(left: Array, right: Array, tolerance: Tolerance) -> bool:
    if left.shape != right.shape:
        return False
    if left.dtype == object:
        return all(
            _same_object(a, b, tolerance)
            for a, b in zip(left.reshape(-1), right.reshape(-1), strict=True)
        )
    if left.dtype.kind != "f":
        return not tolerance.exact_discrete or bool((left == right).all())
    with np.errstate(invalid="ignore"):
        largest = float(np.nanmax(np.abs(right), initial=0.0, where=np.isfinite(right)))
        return bool(
            np.allclose(
                left,
                right,
                rtol=tolerance.relative,
                atol=tolerance.of_largest * largest,
                equal_nan=True,
            )
        )


def _same_object(left: Any, right: Any, tolerance: Tolerance) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and _same(
            np.array(list(left.values()), dtype=np.float64),
            np.array(list(right.values()), dtype=np.float64),
            tolerance,
        )
    return bool(left == right) or not tolerance.exact_discrete
