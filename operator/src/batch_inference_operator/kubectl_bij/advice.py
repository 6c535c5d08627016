"""What a person may do next about a job, and the commands for it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_inference_operator.kubectl_bij.standing import State
from batch_inference_operator.kubectl_bij.wording import count
from batch_inference_operator.names import JOB_NAME_LABEL, OPERATOR_NAME, OPERATOR_NAME_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.kubectl_bij.standing import Standing

_RUN_AGAIN = "To run a job again, delete it, change its manifest, and apply it under the same name."
"""Whether it then resumes depends on what went wrong: the reason's own advice says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do, and what to type."""

    meaning: str = ""
    """What the reason means in general; the condition's message says it of this job."""
    text: str
    commands: tuple[str, ...]


def advise(
    record: Record, standing: Standing, *, docs: Mapping[str, tuple[str, str]], flags: str
) -> Advice:
    """Advice for a job; `docs` are the reasons', `flags` lead kubectl to the same cluster."""
    meaning, advice = docs.get(standing.reason, ("", ""))
    if advice and standing.state is State.FAILED:
        advice = f"{advice} {_RUN_AGAIN}"
    return Advice(
        meaning=meaning,
        text=advice or _text(record, standing),
        commands=tuple(_commands(record, standing, flags)),
    )


def _text(record: Record, standing: Standing) -> str:
    match standing.state:
        case State.UNSEEN:
            return (
                "Wait a few seconds. If it stays so, the operator does not run, or does not watch "
                "this namespace."
            )
        case State.ELSEWHERE:
            return "Ask the controller that spec.managedBy names; this operator leaves it alone."
        case State.SUSPENDED if not standing.is_behind:
            return "Resume it when it should go on; what is committed is not scored again."
        case State.DELETING:
            return "Nothing. A job of the same name and output goes on from what is committed."
        case State.COMPLETE if _rejected(record):
            rows = count(_rejected(record), "row")
            return f"Read the output. {rows} are in the rejects, each with its reason."
        case State.COMPLETE:
            return "Read the output: the manifest lists its files."
        case State.FAILED:
            return f"Correct what the message names. {_RUN_AGAIN}"
    return "Look at the logs if this goes on." if standing.has_trouble else "Nothing: it goes on."


def _rejected(record: Record) -> int:
    stats = record.status.completion_stats
    return (stats.failed_count if stats else None) or 0


def _commands(record: Record, standing: Standing, flags: str) -> tuple[str, ...]:
    name = shlex.quote(record.name)
    pods = f"kubectl get pods{flags} -l {JOB_NAME_LABEL}={name}"
    watch, logs, suspend, resume = (
        f"kubectl bij {verb} {name}{flags}" for verb in ("watch", "logs", "suspend", "resume")
    )
    match standing.state:
        case State.UNSEEN:
            selector = f"{OPERATOR_NAME_LABEL}={OPERATOR_NAME}"
            return (watch, f"kubectl get pods --all-namespaces -l {selector}")
        case State.SUSPENDED:
            return (watch,) if standing.is_behind else (resume,)
        case State.COMPLETE:
            return _verify(record)
        case State.FAILED:
            return (logs, pods)
        case State.IN_PROGRESS if standing.word in ("Running", "Finalizing"):
            return (watch, f"{logs} -f", suspend)
        case State.IN_PROGRESS:
            return (watch, f"{logs} -f", pods)
    return ()


def _verify(record: Record) -> tuple[str, ...]:
    """The output as it is reached from here; a claim's folder is known to its pods only."""
    output = record.status.output
    uri = output.storage_uri if output else None
    return (f"bij verify {shlex.quote(uri)}",) if uri and not uri.startswith("pvc:") else ()
