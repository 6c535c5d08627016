"""What is there: a frozen snapshot of a job's children, as decisions see it.

Times are UTC. Nothing in here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from batch_inference_api.reasons import Reason
    from batch_inference_api.runner_contract import ProgressReport


class JobEnd(StrEnum):
    """How the Job controller says that a Job ended; not the outcome of the run."""

    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """The batch/v1 Job of one run."""

    name: str
    uid: str
    number: int
    created: datetime
    started: datetime | None = None
    """When the Job controller began to make pods; None while the Job is suspended by a queue."""
    suspended: bool = False
    """A queue such as Kueue holds the Job back."""
    being_deleted: bool = False
    finalizers: tuple[str, ...] = ()
    """Of others: once it is deleted, it and its pods go on until these are removed."""
    parallelism: int = 1
    backoff_limit: int | None = None
    """As it was when the run began."""
    applied_workers: int | None = None
    """`workers.replicas` as the operator last applied it."""
    applied_pods: str | None = None
    """Fingerprint of what its pods were made from."""
    end: JobEnd | None = None
    end_reason: str = ""
    """Of the condition: `BackoffLimitExceeded`, `DeadlineExceeded`, `PodFailurePolicy` ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """How a pod's runner container ended."""

    exit_code: int
    reason: str = ""
    """The kubelet's word, such as `OOMKilled` or `Error`."""
    finished: datetime | None = None
    report: ProgressReport | None = None
    """What the runner left as its termination message, if that is a report."""
    message: str = ""
    """The termination message, if it is not a report; or why that cannot be read."""
    is_skewed: bool = False
    """The report is one that another release has written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPod:
    """A pod of a run."""

    name: str
    uid: str
    run: int
    """As its label says, which anybody may have copied."""
    owner_uid: str | None
    """UID of the Job that controls it; None: nobody does any more."""
    index: int | None
    created: datetime
    owner_name: str = ""
    phase: str = "Pending"
    ip: str | None = None
    node: str | None = None
    deleted: datetime | None = None
    """When the pod was told to go, its grace period not included."""
    grace_seconds: int = 0
    running_since: datetime | None = None
    waiting_reason: str = ""
    """Why the container does not run yet: `ImagePullBackOff`, `CreateContainerConfigError` ..."""
    waiting_message: str = ""
    waiting_container: str = ""
    """The init container that waits, which a webhook has added; empty: the runner."""
    unscheduled_message: str = ""
    """The scheduler's words, while it finds no node."""
    awaited_scheduler: str = ""
    """The scheduler that has yet to look at it; empty: one has, or it has a node."""
    scheduling_gates: tuple[str, ...] = ()
    """What keeps it from being scheduled at all, by name."""
    disruption: str = ""
    """The reason of the pod's DisruptionTarget condition, if it was evicted, preempted, or lost."""
    failure_reason: str = ""
    """`status.reason` of a pod that failed as a whole: `Evicted`, `UnexpectedAdmissionError` ..."""
    failure_message: str = ""
    init_failure: str = ""
    """How an init container, which a webhook has added, kept the runner from ever starting."""
    termination: Termination | None = None

    @property
    def is_over(self) -> bool:
        """Whether its processes are certainly gone."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_running(self) -> bool:
        """Whether its runner runs, as far as its node tells."""
        return self.running_since is not None and not self.is_over

    @property
    def is_waiting(self) -> bool:
        """Whether its runner is yet to start."""
        return self.running_since is None and self.termination is None and not self.is_over

    @property
    def kept_since(self) -> datetime | None:
        """Since when only other containers, a mesh's for instance, keep it from being over.

        The Job controller replaces no such pod. None: they do not, or it was told to go.
        """
        if self.termination is None or self.is_over or self.deleted is not None:
            return None
        return self.termination.finished or self.created


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWarning:
    """A Warning event about a Job or pod: some refusals are told in no other way."""

    reason: str
    message: str
    seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The API server, or a setting of the platform's, refuses what a plan asks for."""

    reason: Reason
    message: str
    since: datetime | None = None
    """Since when it has done so each time, as far as this process knows; None: just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that decisions know beside the job itself."""

    jobs: tuple[RunJob, ...] = ()
    pods: tuple[RunPod, ...] = ()
    report: ProgressReport | None = None
    """What index 0 of the current run answered just now."""
    unreachable_seconds: float = 0
    """For how long index 0, though running, has not answered."""
    poll_failure: str = ""
    """Why it did not answer just now."""
    is_poll_skewed: bool = False
    """It did answer, with a report that another release has written."""
    warnings: tuple[ClusterWarning, ...] = ()
    warnings_missed: bool = False
    """Some could not be read, so that there may be more of them."""
    refusal: Refusal | None = None

    @property
    def current_run(self) -> RunJob | None:
        """The Job of the latest run that is not on its way out."""
        live = [job for job in self.jobs if not job.being_deleted]
        return max(live, key=lambda job: job.number, default=None)

    def pods_of(self, run: RunJob) -> tuple[RunPod, ...]:
        """The pods that the Job of a run controls."""
        return tuple(pod for pod in self.pods if pod.owner_uid == run.uid)

    def heads_of(self, run: RunJob) -> tuple[RunPod, ...]:
        """The pods of index 0 of a run, the youngest last."""
        heads = [pod for pod in self.pods_of(run) if pod.index == 0]
        return tuple(sorted(heads, key=lambda pod: pod.created))
