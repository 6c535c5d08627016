"""How long a run may take: `activeDeadlineSeconds`, from its start to its result. Pure."""

from __future__ import annotations

from typing import NamedTuple

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed


class Deadline(NamedTuple):
    """`at` is on the monotonic clock; None: a run may take as long as it needs."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: int | None, *, began: float) -> Deadline:
        """Set the deadline of a run that began at `began`."""
        return cls() if seconds is None else cls(began + seconds)

    def check(self, now: float) -> None:
        """Fail the run if its time is over.

        Raises:
            JobFailed: DEADLINE_EXCEEDED.
        """
        if self.at is not None and now > self.at:
            raise JobFailed(
                Reason.DEADLINE_EXCEEDED,
                "the run took longer than spec.activeDeadlineSeconds; what is committed stays: "
                "raise the deadline and run the job again to resume",
            )
