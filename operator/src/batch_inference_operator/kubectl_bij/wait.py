"""`kubectl bij wait`: until every job is complete, or at once when one has failed.

`kubectl wait --for=condition=Complete` waits for its whole timeout when a job fails.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.feed import Feed, Outage
from batch_inference_operator.kubectl_bij.lookup import explain_missing, missing_message
from batch_inference_operator.kubectl_bij.progress_text import change_line
from batch_inference_operator.kubectl_bij.standing import State, find_standing
from batch_inference_operator.kubectl_bij.wording import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch_inference_operator.kubectl_bij.feed import Snapshot
    from batch_inference_operator.kubectl_bij.session import Session
    from batch_inference_operator.kubectl_bij.standing import Standing

_FOREVER = 3600.0


class Snapshots(Protocol):
    """Where snapshots come from."""

    def next(self, timeout_seconds: float) -> Snapshot | Outage | None:
        """The next one, or None after that time."""
        ...


def run(session: Session, names: Sequence[str], *, timeout_seconds: float | None) -> ExitCode:
    """Wait for jobs by name.

    Raises:
        CommandFailed: one of them is not there, or is deleted meanwhile.
        ClusterError: the cluster refuses to tell.
    """
    feed = Feed(session.calls, names[0] if len(names) == 1 else None)
    return Waiter(session, names).wait(feed, clock=time.monotonic, timeout_seconds=timeout_seconds)


class Waiter:
    """Judges snapshots, and tells of each job once."""

    def __init__(self, session: Session, names: Sequence[str]) -> None:
        self._session = session
        self._open = list(dict.fromkeys(names))
        self._was_seen = False
        self._notes: set[str] = set()
        self._latest: Snapshot | None = None

    def wait(
        self, feed: Snapshots, *, clock: Callable[[], float], timeout_seconds: float | None
    ) -> ExitCode:
        """Read snapshots until there is an exit code. A timeout of 0 judges the first one."""
        end = None if timeout_seconds is None else clock() + timeout_seconds
        while True:
            left = _FOREVER if end is None else end - clock()
            # The first answer is waited for: a cluster that is asked must get to speak.
            seen = feed.next(left if self._was_seen else max(left, _FOREVER))
            if isinstance(seen, Outage):
                self._note(f"{seen.message}; trying again")
            elif seen is not None and (code := self._judge(seen)) is not None:
                return code
            if end is not None and clock() >= end:
                return self._give_up(timeout_seconds or 0)

    def _judge(self, snapshot: Snapshot) -> ExitCode | None:
        self._latest = snapshot
        for name in tuple(self._open):
            job = snapshot.find(name)
            if job is None:
                raise self._explain_gone(name, snapshot)
            standing = find_standing(job)
            message = readable(standing.message)
            if standing.state is State.FAILED:
                self._session.tell(f"job {name!r} failed: {standing.reason}: {message}")
                return ExitCode.JOB_FAILED
            if standing.state is State.COMPLETE:
                self._open.remove(name)
                self._session.say(f"job {name!r} is complete: {message}")
            if (note := self._explain_wait(name, standing)) is not None:
                self._note(note)
        self._was_seen = True
        return None if self._open else ExitCode.SUCCESS

    def _explain_wait(self, name: str, standing: Standing) -> str | None:
        """What this waits for, where the operator alone will not bring it about."""
        match standing.state:
            case State.SUSPENDED if not standing.is_behind:
                resume = f"`kubectl bij resume {name}{self._session.flags}`"
                return f"job {name!r} is suspended and waits for {resume}"
            case State.ELSEWHERE:
                return (
                    f"job {name!r} waits for the controller that spec.managedBy names; this "
                    "operator leaves it alone"
                )
            case State.DELETING:
                return (
                    f"job {name!r} is being deleted and will not be complete; this waits until it "
                    "is gone"
                )
        return None

    def _explain_gone(self, name: str, snapshot: Snapshot) -> CommandFailed:
        if self._was_seen:
            return CommandFailed(f"job {name!r} was deleted before it was complete")
        if not snapshot.jobs:
            return explain_missing(self._session.calls, name)
        known = [job.name for job in snapshot.jobs]
        return CommandFailed(missing_message(name, self._session.calls.namespace, known))

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.add(text)
            self._session.tell(text)

    def _give_up(self, timeout_seconds: float) -> ExitCode:
        self._session.tell(f"not complete after {timeout_seconds:g} s:")
        for name in self._open:
            job = self._latest.find(name) if self._latest else None
            line = change_line(job, find_standing(job)) if job else f"{name}  not seen"
            self._session.tell(f"  {line}")
        return ExitCode.TIMEOUT
