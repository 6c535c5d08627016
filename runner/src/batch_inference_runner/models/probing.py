"""What real rows say: whether a model scores row by row, and how many at once is fastest."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models.calling import not_rowwise
from batch_inference_runner.models.feeds import Dense
from batch_inference_runner.models.onnx import InferenceFailed
from batch_inference_runner.models.tolerance import ROUNDING, SAME, agree, largest_of, may_flip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from batch_inference_runner.models.calling import Call
    from batch_inference_runner.models.feeds import Feeds
    from batch_inference_runner.models.tolerance import Tolerance

    Array = npt.NDArray[Any]

PROBE_ROWS = 8192
DEFAULT_BATCH_SIZE = 1024

_CHECKED_ROWS = 3
_CHECKED_LABELS = 20
_CHECKED_SLOW_LABELS = 10
_TRIED_ROWS = 16  # to find as many as _CHECKED_ROWS that can be scored
_CHECK_BATCH = 64
_SLOW_ROW_SECONDS = 0.002
_SLOW_CALL_SECONDS = 0.5
_BUDGET_SECONDS = 0.015
_CLEARLY_FASTER = 1.15  # two calls a size are not exact
_SIZES = (64, 256, 512, 1024, 2048, 4096, 8192)
_MAX_BATCH_BYTES = 32 * 1024 * 1024


class Checked(NamedTuple):
    """What was compared.

    `row_seconds` is what one row takes alone. `together` is how many rows, not all alike, were
    compared in one call, 0 if they all were; `enough` such rows say whether the model scores row by
    row.
    """

    row_seconds: float
    together: int
    enough: int

    @property
    def differed(self) -> bool:
        """Whether the rows were not all alike."""
        return self.together > 0


def can_tell(feeds: Feeds) -> bool:
    """Say if these are as many rows as `check_rowwise` takes, and not all alike."""
    if feeds.size < _CHECKED_ROWS:
        return False  # there may not even be one to measure
    return feeds.size >= most_checked(feeds) and len(feeds.unlike(0)) > 0


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
    wanted = _rows_alone(first, tolerance)
    alone = [first._replace(row=0)]
    for row in range(1, min(len(rows), _TRIED_ROWS * wanted // _CHECKED_ROWS)):
        if len(alone) < wanted and (scored := _alone(call, _picked(sample, [row]), row)):
            alone.append(scored)
    if len(alone) == 1:
        return None
    together = 0
    for count in sorted({2, min(_CHECKED_ROWS, len(alone)), len(alone)}):
        together = max(together, _compare(call, sample, alone[:count], tolerance))
    seconds = min(scored.seconds for scored in alone)
    if seconds >= _SLOW_ROW_SECONDS:
        return Checked(seconds, together, enough=min(wanted, most_checked(feeds)))
    known = {scored.row for scored in alone}
    if others := [row for row in range(len(rows)) if row not in known]:
        together = max(together, _compare(call, sample, alone, tolerance, others))
    return Checked(seconds, together, enough=most_checked(feeds))


def check_call(call: Call, rows: Feeds, scores: Mapping[str, Array], tolerance: Tolerance) -> None:
    """Compare `scores`, what one call gave for `rows`, with what a few of these give alone.

    Where the first ones that are tried cannot be scored alone, there is nothing to compare.

    Raises:
        JobFailed: ModelNotRowwise.
    """
    unlike = rows.unlike(0)[-1:].tolist()
    wide = [*_spread(rows.size, 2), *_spread(rows.size, _CHECKED_LABELS)]
    alone: list[_Alone] = []
    for tried, row in enumerate(dict.fromkeys([0, *unlike, *wide])):
        if tried == _TRIED_ROWS and not alone:
            return
        if scored := _alone(call, rows.take(np.array([row])), row):
            alone.append(scored)
        if alone and len(alone) >= _rows_alone(alone[0], tolerance):
            break
    if alone:
        places = [scored.row for scored in alone]
        _require_same(call, alone, places, scores, tolerance, all_scores=lambda: scores)


def score_one(
    call: Call, feeds: Feeds, tolerance: Tolerance, *, twice: bool
) -> dict[str, Array] | None:
    """Score one row, the first that can be, if there is one; `twice`, and require the same scores.

    Raises:
        JobFailed: an output has not one entry for one row, or another value each time.
    """
    first = _first_alone(call, feeds)
    if first is None:
        return None
    if twice:
        _refuse_random(call, first, tolerance)
    return first.outputs


def _refuse_random(call: Call, alone: _Alone, tolerance: Tolerance) -> None:
    again = _alone(call, alone.feed, alone.row)
    for name, values in again.outputs.items() if again else ():
        if not agree([(values, alone.outputs[name])], tolerance):
            raise JobFailed(
                Reason.MODEL_UNSUPPORTED,
                f"the model gives different scores for the same row: output {name!r} changed when "
                "a row was scored alone once more. Export it without operators that draw random "
                "numbers, such as RandomNormalLike, Multinomial or a Dropout in training mode",
            )


def _rows_alone(first: _Alone, tolerance: Tolerance) -> int:
    """Return how many rows to score alone: of labels that may flip, enough to tell most of them."""
    if not any(may_flip(values, tolerance) for values in first.outputs.values()):
        return _CHECKED_ROWS
    return _CHECKED_SLOW_LABELS if first.seconds >= _SLOW_ROW_SECONDS else _CHECKED_LABELS


class _Alone(NamedTuple):
    """What a row gives when it is scored alone, and how long that takes."""

    row: int
    feed: dict[str, Array]
    outputs: dict[str, Array]
    seconds: float


def _first_alone(call: Call, feeds: Feeds) -> _Alone | None:
    for row in _spread(feeds.size, _TRIED_ROWS):
        if scored := _alone(call, feeds.take(np.array([row])), row):
            return scored
    return None


def _alone(call: Call, feed: dict[str, Array], row: int) -> _Alone | None:
    started = time.perf_counter()
    try:
        outputs = call(feed)
    except InferenceFailed:
        return None
    return _Alone(row, feed, outputs, time.perf_counter() - started)


def _rows_to_check(feeds: Feeds, first: int) -> list[int]:
    """Return different rows, as many as are scored together: `first`, its unlikes, then others."""
    size = most_checked(feeds)
    unlike = feeds.unlike(first)
    unlike = unlike[_spread(len(unlike), _CHECK_BATCH // 2)]
    # Of a slow model a few of them are scored: these should lie all over the table, too.
    others = [*_spread(feeds.size, _CHECKED_SLOW_LABELS), *_spread(feeds.size, size)]
    rows = dict.fromkeys([first, *unlike.tolist(), *others])
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
    """Find how many rows a call should take, within some 15 milliseconds.

    Small models are fastest while a micro-batch fits the cache, about a thousand rows; for slow
    ones the batch hardly matters and small ones keep memory and latency low.
    """
    if row_seconds > _SLOW_ROW_SECONDS:
        fits = [size for size in (32, 16, 8) if size * row_seconds <= _SLOW_CALL_SECONDS]
        return fits[0] if fits else (4 if row_seconds < 1 else 1)
    largest = max(1, min(_SIZES[-1], _MAX_BATCH_BYTES // _row_bytes(feeds)))
    measured = _measured(call, feeds, largest=min(largest, feeds.size), row_seconds=row_seconds)
    if not measured or feeds.size < DEFAULT_BATCH_SIZE:
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
) -> int:
    """Require of rows scored together, and with `others`, what they give alone.

    Return how many these are if any of them differ, that is, if scores could have changed; else 0.
    """
    rows = [*(scored.row for scored in alone), *others]
    picked = _picked(sample, rows)
    try:
        together = call(picked)
    except InferenceFailed:
        return 0
    places = range(len(alone))
    _require_same(call, alone, places, together, tolerance, all_scores=lambda: call(sample))
    differed = any(len(Dense(array).unlike(0)) for array in picked.values())
    return len(rows) if differed else 0


def _require_same(
    call: Call,
    alone: Sequence[_Alone],
    places: Sequence[int],
    together: Mapping[str, Array],
    tolerance: Tolerance,
    *,
    all_scores: Callable[[], Mapping[str, Array]],
) -> None:
    """Require of rows, which lay at `places` of one call, that it gave what they give alone.

    A row that does not even give the same twice alone tells nothing of the others.
    """
    for name, values in together.items():
        pairs = [
            (values[place : place + 1], scored.outputs[name])
            for place, scored in zip(places, alone, strict=True)
        ]
        if agree(pairs, tolerance):
            continue
        likes = _Likes(call, name, len(values), alone, places)
        if not _is_rounding(likes, pairs, all_scores):
            _refuse_random(call, alone[0], tolerance)
            raise not_rowwise(
                f"output {name!r} of a row changes when it is scored with {len(values) - 1} others"
            )


class _Likes(NamedTuple):
    """What an output gives rows that are scored at their places among `copies` of their likes."""

    call: Call
    name: str
    copies: int
    alone: Sequence[_Alone]
    places: Sequence[int]

    def scores(self) -> Iterator[Array]:
        for place, scored in zip(self.places, self.alone, strict=True):
            feed = {
                name: np.repeat(array, self.copies, axis=0) for name, array in scored.feed.items()
            }
            yield self.call(feed)[self.name][place : place + 1]


def _is_rounding(
    likes: _Likes,
    pairs: Sequence[tuple[Array, Array]],
    all_scores: Callable[[], Mapping[str, Array]],
) -> bool:
    """Say if an output only depends on how many rows are scored, and as little as rounding does.

    Libraries sum one row otherwise than many. Where large terms nearly cancel, as the year and the
    latitude in a linear model do, that alone is far above what a score may change by. But among as
    many rows and at the same place, a row's score must be the same whatever these rows are: its own
    likes, for instance.
    """
    try:
        if not agree(pairs, ROUNDING, largest=largest_of(all_scores()[likes.name])):
            return False
        return all(
            agree([(together, among_likes)], SAME)
            for (together, _), among_likes in zip(pairs, likes.scores(), strict=True)
        )
    except InferenceFailed:
        return False
