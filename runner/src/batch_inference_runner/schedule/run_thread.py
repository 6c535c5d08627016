"""The thread of a run, so that a store that falls silent does not hold up the run's end.

Whatever waits for a store waits in native code, for minutes, and hears neither of a signal nor of a
deadline: while the input is listed, the output opened, an attempt recorded, the result published.
So all of a run happens on a thread, and the main thread only waits: for its end, to be told to
stop, for the deadline. A run that has not ended some seconds after one of these is left where it
is, because the process ends next. To its output that is a crash, and those lose nothing at any
moment; scorers die with the thread.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from batch_inference_runner.errors import Interrupted, RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.schedule.deadline import Deadline

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_TICK_SECONDS = 0.2
_GRACE_SECONDS = 6.0
"""More than a run needs to end by itself if only its last commits have no answer, and less than a
supervisor waits after SIGTERM: there must be time left for the last report."""


class RunThread(Generic[_Result]):
    """Does the work of a run once, and waits no longer for it than it deserves."""

    def __init__(self, *, grace_seconds: float = _GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._settled: _Result | None = None
        self._returned: _Result | None = None
        self._error: BaseException | None = None

    def settle(self, result: _Result) -> None:
        """Say, in the work, how it ends if what is left of it, cleaning up, is not waited for."""
        self._settled = result

    def finish(
        self, work: Callable[[], _Result], *, stop: threading.Event, deadline: Deadline
    ) -> _Result:
        """Do the work; return what it returns, raise what it raises.

        It is to heed `stop` and `deadline` itself. If it does not, for it waits:

        Raises:
            Interrupted: some seconds after `stop` was set.
            JobFailed: some seconds after the deadline.
        """
        thread = threading.Thread(target=self._do, args=(work,), name="run", daemon=True)
        thread.start()
        stopped_at: float | None = None
        while True:
            thread.join(_TICK_SECONDS)
            if not thread.is_alive():
                return self._result_of_work()
            now = time.monotonic()
            if stopped_at is None and stop.is_set():
                stopped_at = now
            try:
                if stopped_at is not None and now - stopped_at > self._grace_seconds:
                    raise Interrupted("the run was asked to stop while it waited for an answer")
                deadline.check(now - self._grace_seconds)
            except RunnerError:
                _logger.warning("the run waits for an answer, a store's perhaps, and is left there")
                if self._settled is not None:
                    return self._settled
                raise

    def _do(self, work: Callable[[], _Result]) -> None:
        try:
            self._returned = work()
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: `finish` raises it
            self._error = error

    def _result_of_work(self) -> _Result:
        if self._error is not None:
            raise self._error
        return self._returned  # type: ignore[return-value]  # its type may include None
