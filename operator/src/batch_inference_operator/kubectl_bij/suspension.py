"""`kubectl bij suspend` and `resume`: the one thing that this command writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_operator.decide.record import read_record
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.lookup import find_job
from batch_inference_operator.kubectl_bij.standing import State, find_standing
from batch_inference_operator.kubectl_bij.wording import count

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.kubectl_bij.session import Session

_GITOPS = {
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "argocd.argoproj.io/tracking-id": "Argo CD",
}


def run(session: Session, name: str, *, suspend: bool) -> ExitCode:
    """Write `spec.suspend`, and say what happens now.

    Raises:
        CommandFailed: there is no such job, or it has ended.
        ClusterError: the cluster refuses.
    """
    raw = find_job(session.calls, name)
    record = read_record(raw)
    _refuse_finished(record, "suspended" if suspend else "resumed")
    is_suspended = bool((raw.get("spec") or {}).get("suspend"))
    if is_suspended is suspend:
        state = "is suspended already" if suspend else "is not suspended"
        session.say(f"job {name!r} {state}: nothing was changed")
        return ExitCode.SUCCESS
    session.calls.set_suspend(name, uid=record.uid, suspend=suspend)
    session.say(_suspended(record, session) if suspend else _resumed(record, session))
    if (tool := manager_of(raw)) is not None:
        session.tell(f"{tool} manages this job and may set it back: change its source as well")
    return ExitCode.SUCCESS


def _refuse_finished(record: Record, done: str) -> None:
    state = find_standing(record).state
    if state not in (State.COMPLETE, State.FAILED):
        return
    ended = "is complete" if state is State.COMPLETE else "has failed"
    advice = (
        "score again with a job of another name and another output"
        if state is State.COMPLETE
        else "delete it and apply its manifest again under the same name: it goes on from what is "
        "committed"
    )
    raise CommandFailed(f"job {record.name!r} {ended} and cannot be {done}; {advice}")


def _suspended(record: Record, session: Session) -> str:
    return (
        f"job {record.name!r} is being suspended: its pods are taken away. {_committed(record)} "
        f"Go on with: kubectl bij resume {record.name}{session.flags}"
    )


def _resumed(record: Record, session: Session) -> str:
    return (
        f"job {record.name!r} goes on in a new run. {_committed(record)} "
        f"See how with: kubectl bij watch {record.name}{session.flags}"
    )


def _committed(record: Record) -> str:
    shards = record.status.shards
    if shards is None or not shards.total:
        return "Nothing is committed yet."
    done = f"{count(shards.succeeded or 0)} of {count(shards.total, 'shard')}"
    return f"{done} are committed, stay, and are not scored again."


def manager_of(raw: Mapping[str, Any]) -> str | None:
    """The tool that applies the job's manifest over and over, if its marks are there."""
    metadata = raw["metadata"]
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    return next((tool for mark, tool in _GITOPS.items() if mark in marks), None)
