"""Whether a model was seen to score row by row, over as many tables as that takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from batch_inference_runner.models.probing import check_call, check_rowwise, most_checked

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from batch_inference_runner.models.calling import Call
    from batch_inference_runner.models.feeds import Feeds
    from batch_inference_runner.models.probing import Checked
    from batch_inference_runner.models.tolerance import Tolerance

    Array = npt.NDArray[Any]


class Trial:
    """Compares rows of one table after the other, until enough of them could tell.

    Rows meet only in a table, so each is compared before it is scored. Rows that are all alike
    cannot change each other's scores by what they hold, at most by their number, of which a few
    comparisons say enough; so whatever is scored before the trial is `over` is right.

    A few dozen rows say nothing of calls that take thousands: of each call that is larger than all
    before, a few rows are compared once more, after it.

    `fixed_batch` is how many rows every call takes, if the model says so: then none is larger than
    another, and where it is 1, rows never meet, and there is nothing to try. `wants` and
    `wants_call` may be called from several threads at once, the others may not.
    """

    def __init__(self, tolerance: Tolerance, *, fixed_batch: int | None = None) -> None:
        self.over = fixed_batch == 1
        self._tolerance = tolerance
        self._rows_alike = 0
        self._rows_that_differ = 0
        self._largest_call = 1 if fixed_batch is None else math.inf
        self._largest_call_alike = 1

    def wants(self, feeds: Feeds) -> bool:
        """Say if rows of this table must be compared before they are scored together."""
        if self.over or feeds.size < 2:
            return False
        return self._rows_alike < most_checked(feeds) or len(feeds.unlike(0)) > 0

    def compare(self, call: Call, feeds: Feeds) -> Checked | None:
        """Compare rows of this table, if the trial goes on; None if there were no two to compare.

        Raises:
            JobFailed: ModelNotRowwise.
        """
        checked = None if self.over else check_rowwise(call, feeds, self._tolerance)
        if checked is None:
            return None
        self._largest_call = max(self._largest_call, checked.together)
        if checked.differed:
            self._rows_that_differ += feeds.size
            self.over = self._rows_that_differ >= checked.enough
        else:
            self._rows_alike += feeds.size
        return checked

    def wants_call(self, rows: int) -> bool:
        """Say if a call of so many rows is larger than those that were compared."""
        return rows > self._largest_call

    def compare_call(self, call: Call, rows: Feeds, scores: Mapping[str, Array]) -> None:
        """Compare `scores`, what one call gave for `rows`, if the trial wants it.

        Raises:
            JobFailed: ModelNotRowwise.
        """
        if not self.wants_call(rows.size):
            return
        differ = len(rows.unlike(0)) > 0
        if not differ and rows.size <= self._largest_call_alike:
            return
        check_call(call, rows, scores, self._tolerance)
        if differ:
            self._largest_call = rows.size
        else:
            self._largest_call_alike = rows.size


class LargestCall:
    """Calls the model, and keeps what the call of the most rows gave."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.rows = 0
        self.scores: Mapping[str, Array] = {}

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Raise what the call raises."""
        scores = self._call(feeds)
        rows = len(next(iter(feeds.values())))
        if rows > self.rows:
            self.rows, self.scores = rows, scores
        return scores
