"""`kubectl bij logs`: what the pods of a run print, whatever they are called."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from batch_inference_operator.build.layout import CONTAINER
from batch_inference_operator.cluster.api import ClusterError, Invalid, NotFound
from batch_inference_operator.decide.record import read_record
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.feed import TRANSIENT, pause_seconds
from batch_inference_operator.kubectl_bij.lookup import find_job
from batch_inference_operator.kubectl_bij.pods import choose_pods, read_pods
from batch_inference_operator.names import job_selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_inference_operator.kubectl_bij.pods import LogPod, Wanted
    from batch_inference_operator.kubectl_bij.session import Session

    _Seen = tuple[LogPod | None, bool, str]

_LOOK_AGAIN_SECONDS = 1.0


def run(session: Session, name: str, wanted: Wanted, *, follow: bool, tail: int | None) -> ExitCode:
    """Print logs; with `follow` go on to the pods that replace these, until the job has ended.

    Raises:
        CommandFailed: there is no such job or pod, or its pods have not begun.
        ClusterError: the cluster refuses.
    """
    if follow and wanted.index is None:
        _follow_all(session, name, wanted, tail=tail)
    elif follow:
        for line in follow_lines(session, name, wanted, tail=tail, pause=time.sleep):
            session.say(line)
    elif wanted.index is None:
        return _print_all(session, name, wanted, tail=tail)
    else:
        (pod,), _ = find_pods(session, name, wanted)
        for line in read_lines(session, pod, follow=False, tail=tail):
            session.say(line)
    return ExitCode.SUCCESS


def _print_all(session: Session, name: str, wanted: Wanted, *, tail: int | None) -> ExitCode:
    """Every index's lines, with the index before them; one without a log hides no other's."""
    exit_code = ExitCode.SUCCESS
    for pod in find_pods(session, name, wanted)[0]:
        try:
            for line in read_lines(session, pod, follow=False, tail=tail):
                session.say(f"[{pod.index}] {line}")
        except CommandFailed as error:
            session.tell(str(error))
            exit_code = ExitCode.ERROR
    return exit_code


def find_pods(session: Session, name: str, wanted: Wanted) -> tuple[list[LogPod], bool]:
    """The pods that were asked for, and whether their job has ended."""
    record = read_record(find_job(session.calls, name))
    pods = read_pods(session.calls.list_pods(job_selector(record.uid)))
    return choose_pods(pods, wanted, current_run=record.run_number), record.is_finished


def read_lines(session: Session, pod: LogPod, *, follow: bool, tail: int | None) -> Iterator[str]:
    """The lines of one pod."""
    if not pod.has_begun and not pod.is_over:
        raise _explain_silence(pod)
    log = session.calls.read_log(pod.name, container=CONTAINER, follow=follow, tail=tail)
    try:
        for line in log:
            yield line.decode("utf-8", "replace").rstrip("\r\n")
    except NotFound:
        raise CommandFailed(f"pod {pod.name!r} is gone, and its log with it") from None
    except Invalid as error:
        raise CommandFailed(f"pod {pod.name!r} has no log: {error}") from error


def _explain_silence(pod: LogPod) -> CommandFailed:
    why = f": {pod.waits_for}" if pod.waits_for else ""
    return CommandFailed(f"pod {pod.name!r} has not begun{why}; -f waits until it has")


def follow_lines(
    session: Session,
    name: str,
    wanted: Wanted,
    *,
    tail: int | None,
    pause: Callable[[float], None],
    was_seen: bool = False,
) -> Iterator[str]:
    """The lines of one index, from pod to pod; what is told beside them goes to stderr.

    Raises:
        ClusterError: the first answer was a refusal, unless the job `was_seen` before, or a later
            one that will not go away.
    """
    read: str | None = None
    told = ""
    look = partial(_look, session, name, wanted)
    while True:
        if was_seen:
            pod, is_finished, why = _insist(session, partial(look, is_new=read is None), pause)
        else:
            pod, is_finished, why = look(is_new=True)
            was_seen = True
        if pod is not None and pod.name != read and (pod.has_begun or pod.is_over):
            if read is not None:
                session.tell(f"pod {read} has ended; now pod {pod.name} of run {pod.run}")
            first = tail if read is None else None
            yield from _read_to_the_end(session, pod, tail=first, pause=pause)
            read, told = pod.name, ""
            continue
        if is_finished or (wanted.previous_run and read is not None):
            return
        if why and why != told:
            told = why
            session.tell(why)
        pause(_LOOK_AGAIN_SECONDS)


def _insist(session: Session, look: Callable[[], _Seen], pause: Callable[[float], None]) -> _Seen:
    """Look until there is an answer; an outage is told of once."""
    failures = 0
    while True:
        try:
            return look()
        except TRANSIENT as error:
            failures += 1
            if failures == 1:
                session.tell(f"{error}; trying again")
            pause(pause_seconds(failures))


def _look(session: Session, name: str, wanted: Wanted, *, is_new: bool) -> _Seen:
    """The pod to read, whether the job has ended, and what is waited for."""
    record = read_record(find_job(session.calls, name))
    pods = read_pods(session.calls.list_pods(job_selector(record.uid)))
    try:
        (pod,) = choose_pods(pods, wanted, current_run=record.run_number)
    except CommandFailed as error:
        if wanted.previous_run or (is_new and record.is_finished):
            raise
        return None, record.is_finished, f"waiting: {error}"
    waits = "" if pod.has_begun or pod.is_over else f"waiting: {_explain_silence(pod)}"
    return pod, record.is_finished, waits.removesuffix("; -f waits until it has")


def _read_to_the_end(
    session: Session, pod: LogPod, *, tail: int | None, pause: Callable[[float], None]
) -> Iterator[str]:
    """A connection that broke is made again; what was printed meanwhile is not shown."""
    failures = 0
    while True:
        try:
            for line in read_lines(session, pod, follow=True, tail=tail):
                failures = 0
                yield line
        except TRANSIENT as error:
            failures += 1
            if failures == 1:
                session.tell(f"the log of pod {pod.name} broke off and goes on from here: {error}")
            tail = 0
            pause(pause_seconds(failures))
        except CommandFailed as error:
            session.tell(str(error))
            return
        else:
            return


def _follow_all(session: Session, name: str, wanted: Wanted, *, tail: int | None) -> None:
    """Every index that there is now, each in a thread, its lines with the index before them."""
    lines: queue.Queue[str | Exception | None] = queue.Queue(maxsize=1000)
    pods, _ = find_pods(session, name, wanted)
    for pod in pods:
        threading.Thread(
            target=_feed, args=(session, name, pod, wanted, tail, lines), daemon=True
        ).start()
    running = len(pods)
    while running:
        line = lines.get()
        match line:
            case None:
                running -= 1
            case str():
                session.say(line)
            case ClusterError() | CommandFailed():
                session.tell(str(line))
            case defect:
                raise defect


def _feed(
    session: Session,
    name: str,
    pod: LogPod,
    wanted: Wanted,
    tail: int | None,
    lines: queue.Queue[str | Exception | None],
) -> None:
    try:
        only = replace(wanted, index=pod.index)
        for line in follow_lines(session, name, only, tail=tail, pause=time.sleep, was_seen=True):
            lines.put(f"[{pod.index}] {line}")
    except Exception as error:  # noqa: BLE001 - the thread's edge: whoever waits must hear of it
        lines.put(error)
    lines.put(None)
