"""`kubectl bij watch`: progress of one job until it ends, or of all of a namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.feed import Feed, Outage
from batch_inference_operator.kubectl_bij.lookup import explain_missing
from batch_inference_operator.kubectl_bij.paint import Tone, choose_paint, is_terminal
from batch_inference_operator.kubectl_bij.progress_text import change_line, job_lines, table_lines
from batch_inference_operator.kubectl_bij.screen import Screen
from batch_inference_operator.kubectl_bij.standing import State, find_standing

if TYPE_CHECKING:
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.kubectl_bij.feed import Snapshot
    from batch_inference_operator.kubectl_bij.progress_text import Line
    from batch_inference_operator.kubectl_bij.session import Session
    from batch_inference_operator.kubectl_bij.wait import Snapshots

_TICK_SECONDS = 1.0


class View(Protocol):
    """One way of showing snapshots."""

    def show(self, snapshot: Snapshot) -> None:
        """Called for every snapshot, and every second."""
        ...

    def interrupt(self, message: str) -> None:
        """Say that what is shown may be old."""
        ...


def run(session: Session, name: str | None) -> ExitCode:
    """Watch until the job has ended; without a name until Ctrl-C.

    Raises:
        CommandFailed: there is no such job, or it is deleted meanwhile.
        ClusterError: the cluster refuses to tell.
    """
    live = is_terminal(session.out, session.environment)
    view: View = LiveView(session, name) if live else LineView(session)
    return watch(session, name, feed=Feed(session.calls, name), view=view)


def watch(session: Session, name: str | None, *, feed: Snapshots, view: View) -> ExitCode:
    """Show what the feed brings, until there is an exit code."""
    latest: Snapshot | None = None
    while True:
        seen = feed.next(_TICK_SECONDS)
        if isinstance(seen, Outage):
            view.interrupt(seen.message)
            continue
        if seen is not None and name is not None:
            _check_presence(session, name, seen, before=latest)
        latest = seen or latest
        if latest is None:
            continue
        view.show(latest)
        job = latest.find(name) if name else None
        if job is not None and (code := _exit_code(job)) is not None:
            return code


def _check_presence(
    session: Session, name: str, seen: Snapshot, *, before: Snapshot | None
) -> None:
    if seen.find(name) is not None:
        return
    if before is None:
        raise explain_missing(session.calls, name)
    raise CommandFailed(f"job {name!r} was deleted before it was complete")


def _exit_code(job: Record) -> ExitCode | None:
    state = find_standing(job).state
    return {State.COMPLETE: ExitCode.SUCCESS, State.FAILED: ExitCode.JOB_FAILED}.get(state)


class LiveView:
    """Drawn again in place, on a terminal."""

    def __init__(self, session: Session, name: str | None) -> None:
        self._session = session
        self._name = name
        self._screen = Screen(session.out, choose_paint(session.out, session.environment))
        self._lines: tuple[Line, ...] = ()

    def show(self, snapshot: Snapshot) -> None:
        jobs = tuple((job, find_standing(job)) for job in snapshot.jobs)
        if not jobs:
            self._lines = ((_nothing(self._session), Tone.QUIET),)
        elif self._name is None:
            self._lines = table_lines(jobs)
        else:
            self._lines = job_lines(*jobs[0], now=self._session.now())
        self._screen.draw(self._lines)

    def interrupt(self, message: str) -> None:
        self._screen.draw((*self._lines, (f"{message}; trying again", Tone.TROUBLE)))


class LineView:
    """A line for every change, for logs and pipes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown: dict[str, str] = {}
        self._is_interrupted = False

    def show(self, snapshot: Snapshot) -> None:
        self._is_interrupted = False
        if not snapshot.jobs and not self._shown:
            self._say_once("", _nothing(self._session))
        for job in snapshot.jobs:
            self._say_once(job.name, change_line(job, find_standing(job)))
        gone = set(self._shown) - {job.name for job in snapshot.jobs} - {""}
        for name in sorted(gone):
            self._say(f"{name}  deleted")
            del self._shown[name]

    def interrupt(self, message: str) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            self._session.tell(f"{message}; trying again")

    def _say_once(self, name: str, line: str) -> None:
        if self._shown.get(name) != line:
            self._shown[name] = line
            self._say(line)

    def _say(self, line: str) -> None:
        self._session.say(f"{self._session.now().astimezone():%H:%M:%S}  {line}")


def _nothing(session: Session) -> str:
    return f"no jobs in namespace {session.calls.namespace!r} yet"
