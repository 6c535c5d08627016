"""Whether a model was seen to score row by row, over as many tables as that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_runner.models.probing import check_rowwise, most_checked

if TYPE_CHECKING:
    from batch_inference_runner.models.calling import Call
    from batch_inference_runner.models.feeds import Feeds
    from batch_inference_runner.models.probing import Checked, Tolerance


class Trial:
    """Compares rows of one table after the other, until enough of them could tell.

    Rows meet only in a table, so each is compared before it is scored. Rows that are all alike
    cannot change each other's scores by what they hold, at most by their number, of which a few
    comparisons say enough; so whatever is scored before the trial is `over` is right.

    `needless` where rows never meet. `wants` may be called from several threads at once, `compare`
    may not.
    """

    def __init__(self, tolerance: Tolerance, *, needless: bool) -> None:
        self.over = needless
        self._tolerance = tolerance
        self._rows_alike = 0
        self._rows_that_differ = 0

    def wants(self, feeds: Feeds) -> bool:
        """Say if rows of this table must be compared before they are scored together."""
        if self.over or feeds.count < 2:
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
        if checked.differed:
            self._rows_that_differ += feeds.count
            self.over = self._rows_that_differ >= checked.enough
        else:
            self._rows_alike += feeds.count
        return checked
