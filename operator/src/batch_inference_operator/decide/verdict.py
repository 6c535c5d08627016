"""How a run ended.

Index 0's exit code and its final report decide, never the Job's condition alone: a Job can be
Complete with nothing finished, and Failed after everything was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batch_inference_api.pod_contract import PERMANENT_EXIT_CODES
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_operator.build.claims import with_claims
from batch_inference_operator.decide.bounds import as_reason
from batch_inference_operator.decide.head import find_head
from batch_inference_operator.observation import JobEnd

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_api.runner_contract import ProgressReport
    from batch_inference_operator.observation import Observation, RunJob, RunPod

MEMORY_ADVICE = "raise spec.workers.resources.limits.memory or lower spec.batching.batchSize"
KEPT = (
    "another container keeps its pod, which is not replaced: inject sidecars as native ones or not "
    "at all"
)
_KILLED = 128 + 9
"""By SIGKILL. Where its own limit of memory was the cause, the kubelet says `OOMKilled`."""
_TERMINATED = 128 + 15
"""By SIGTERM, as pods of a Job that is over are."""
_KEPT_SECONDS = 30.0
"""Native sidecars have the pod's grace period to end after its runner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """All rows are accounted for."""

    report: ProgressReport
    pod_uid: str
    """The pod that has left the report."""
    ended: datetime | None = None
    """When its pod ended, as the kubelet says; None: just now, as far as anybody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The job cannot succeed as it is."""

    reason: str
    message: str
    report: ProgressReport | None = None
    pod_uid: str | None = None
    """The pod that has given the report."""
    ended: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """The run is over and the job is not: the next run goes on from what is committed."""

    reason: str
    message: str


Verdict = Succeeded | Failed | Unsettled


def judge(run: RunJob, observation: Observation) -> Verdict | None:
    """Say how the run ended; None while it goes on."""
    verdict = judge_heads(run, observation)
    if verdict is not None or run.end is None:
        return verdict
    heads = observation.heads_of(run)
    if run.end is JobEnd.FAILED and run.end_reason == Reason.BACKOFF_LIMIT_EXCEEDED:
        message = "more pods failed than spec.backoffLimit allows"
        blamed = _find_blamed(run, observation)
        if blamed is not None:
            message += f"; {describe_end(blamed)}"
        return Failed(reason=Reason.BACKOFF_LIMIT_EXCEEDED, message=message)
    if run.end is JobEnd.FAILED and run.end_reason == Reason.DEADLINE_EXCEEDED:
        message = "the job took longer than spec.activeDeadlineSeconds"
        return Failed(reason=Reason.DEADLINE_EXCEEDED, message=message)
    return _unreported(run, heads[-1] if heads else None)


def judge_heads(run: RunJob, observation: Observation) -> Verdict | None:
    """What the pods of index 0 have left as their last word, whatever the Job says."""
    verdicts = map(_judge_head, reversed(observation.heads_of(run)))
    return next((verdict for verdict in verdicts if verdict is not None), None)


def _find_blamed(run: RunJob, observation: Observation) -> RunPod | None:
    """The pod that best tells why pods failed: of any index, none that was told to end.

    One that lacked memory tells most, since that can be remedied; else the one that ended last.
    """
    failed = [pod for pod in observation.pods_of(run) if _failed_by_itself(pod)]
    heads = observation.heads_of(run)
    return max(failed, key=_telling, default=heads[-1] if heads else None)


def _failed_by_itself(pod: RunPod) -> bool:
    end = pod.termination
    was_told = pod.disruption or (end is not None and end.exit_code == _TERMINATED)
    return pod.phase == "Failed" and not was_told


def _telling(pod: RunPod) -> tuple[bool, datetime]:
    end = pod.termination
    if end is None:
        return False, pod.created
    return end.reason == "OOMKilled", end.finished or pod.created


def describe_end(pod: RunPod) -> str:
    """Say in words how a pod ended."""
    end = pod.termination
    if pod.failure_reason:
        return f"pod {pod.name}: {pod.failure_reason}: {pod.failure_message}".rstrip(": ")
    if end is None:
        state = f": {pod.init_failure}" if pod.init_failure else f" is {pod.phase}"
        return f"pod {pod.name}{state}"
    reason = f" ({end.reason})" if end.reason and end.reason != "Error" else ""
    said = end.report.message if end.report is not None else end.message
    if end.reason == "OOMKilled":
        said = MEMORY_ADVICE
    elif end.exit_code == _KILLED and end.reason == "Error" and not said:
        said = "killed, as when it hangs, or when its node runs short of memory"
    return f"pod {pod.name} ended with exit code {end.exit_code}{reason}" + (
        f": {with_claims(said.strip())}" if said else ""
    )


def _judge_head(head: RunPod) -> Verdict | None:
    end = head.termination
    if end is None or end.report is None or not end.report.final:
        return None
    report = end.report
    if end.exit_code == 0 and report.phase is RunPhase.SUCCEEDED:
        return Succeeded(report=report, pod_uid=head.uid, ended=end.finished)
    if end.exit_code in PERMANENT_EXIT_CODES and report.phase is RunPhase.FAILED:
        return Failed(
            reason=as_reason(report.reason, otherwise=Reason.REPORT_MISSING),
            message=with_claims(report.message or ""),
            report=report,
            pod_uid=head.uid,
            ended=end.finished,
        )
    return None


def judge_kept(run: RunJob, observation: Observation, *, now: datetime) -> Unsettled | None:
    """Say that a run is over whose first pod is kept: its Job would wait for that for ever."""
    head = find_head(run, observation)
    if head is None or not is_kept(head, now=now):
        return None
    unreported = _unreported(run, head)
    return replace(unreported, message=f"{unreported.message}; {KEPT}")


def _unreported(run: RunJob, head: RunPod | None) -> Unsettled:
    """Say that a run is over, and that nobody who could be understood has said how it ended."""
    if head is None:
        message = f"run {run.number} ended without a report"
        return Unsettled(reason=Reason.REPORT_MISSING, message=message)
    is_skewed = head.termination is not None and head.termination.is_skewed
    return Unsettled(
        reason=Reason.VERSION_SKEW if is_skewed else Reason.REPORT_MISSING,
        message=f"run {run.number} ended without a report"
        + (" that this operator can read" if is_skewed else "")
        + f"; {describe_end(head)}",
    )


def is_kept(pod: RunPod, *, now: datetime) -> bool:
    """Whether a pod whose runner has ended stays, as it does beside an ordinary sidecar."""
    since = pod.kept_since
    return since is not None and (now - since).total_seconds() > _KEPT_SECONDS
