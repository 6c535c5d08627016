"""A tiny model of a cluster, against which decisions are played out: no I/O, and no waiting.

It knows what matters to them: the Job controller makes and replaces pods and says how Jobs end;
pods start, commit shards, and end in every way that pods have; nodes are lost; people suspend and
delete. One job is in it. Whatever can happen next is a `Move`, so a test can take any of them in
any order, or let the cluster come to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, assert_never

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ProgressReport, RowCounts, ShardCounts
from batch_inference_api.v1alpha1.status import JobStatus
from batch_inference_operator.build.job import fingerprint_of_pods
from batch_inference_operator.decide.next_step import plan_next
from batch_inference_operator.decide.plan import (
    Action,
    CreateCompanions,
    CreateRun,
    DeleteRun,
    Plan,
    ScaleRun,
)
from batch_inference_operator.decide.record import Record
from batch_inference_operator.observation import JobEnd, Observation, RunJob, RunPod, Termination
from testkit.model_pod import Move, Pod
from testkit.observations import (
    NOW,
    SETTINGS,
    make_failure,
    make_record,
    make_report,
    make_success,
)

SHARDS = 3
GRACE_SECONDS = 10
BACKOFF_LIMIT = 2
FENCE = timedelta(seconds=GRACE_SECONDS + SETTINGS.fence_seconds)


@cache
def _read(changes: tuple[tuple[str, Any], ...]) -> Record:
    return make_record({"spec.backoffLimit": BACKOFF_LIMIT} | dict(changes))


class Crashed(Exception):
    """The operator's process ended."""


@dataclass
class ClusterModel:
    """One job in a cluster, at one moment."""

    changes: dict[str, Any] = field(default_factory=dict)
    status: JobStatus = field(default_factory=JobStatus)
    now: datetime = NOW
    jobs: dict[str, RunJob] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    committed: int = 0
    has_result: bool = False
    is_doomed: bool = False
    """The same job fails again, whoever runs it."""
    has_nodes: bool = True
    has_sidecars: bool = False
    """A mesh injects ordinary ones: a pod whose runner has ended is over once it is told to go."""
    reports_are_lost: bool = False
    is_reachable: bool = True
    created: list[int] = field(default_factory=list)
    """Numbers of all Jobs that were ever created, in order."""
    equipped: set[str] = field(default_factory=set)
    """UIDs of the Jobs whose pods have what they need."""
    history: list[str] = field(default_factory=list)
    _failures: dict[str, int] = field(default_factory=dict)

    # What the operator sees, and does.

    def record(self) -> Record:
        return replace(_read(tuple(self.changes.items())), status=self.status)

    def observe(self) -> Observation:
        observation = Observation(
            jobs=tuple(self.jobs.values()), pods=tuple(pod.seen for pod in self.pods)
        )
        run = observation.current_run
        head = None if run is None else self.head_of(run)
        if head is None or not head.is_up or head.is_lost or not self.is_reachable:
            return observation
        return replace(observation, report=self.report(head))

    def report(self, head: Pod) -> ProgressReport:
        return make_report(
            run_number=head.seen.run,
            rows=RowCounts(total=SHARDS, processed=self.committed, written=self.committed),
            shards=ShardCounts(
                total=SHARDS, pending=SHARDS - self.committed, succeeded=self.committed
            ),
            percentage=100 * self.committed // SHARDS,
            rows_per_second=0,
        )

    def plan(self) -> Plan:
        return plan_next(self.record(), self.observe(), now=self.now, settings=SETTINGS)

    def reconcile(self, before_write: Callable[[], None] = lambda: None) -> Plan:
        """Plan, act, and write the status, as `Reconciler` does; each write may be the last."""
        plan = self.plan()
        for action in plan.actions:
            before_write()
            self.carry_out(action)
        if plan.status is not None and plan.status != self.status:
            before_write()
            self.status = plan.status
        before_write()
        return plan

    def carry_out(self, action: Action) -> None:
        self.history.append(f"operator: {action}")
        match action:
            case CreateRun(number=number):
                self._create_run(number)
            case CreateCompanions(job_uid=uid):
                self.equipped.add(uid)
            case DeleteRun(job_name=name, job_uid=uid):
                if name in self.jobs and self.jobs[name].uid == uid:
                    del self.jobs[name]
            case ScaleRun(job_name=name, job_uid=uid, workers=workers):
                if name in self.jobs and self.jobs[name].uid == uid:
                    self._change_job(name, parallelism=workers, applied_workers=workers)
            case _:
                assert_never(action)

    def _create_run(self, number: int) -> None:
        name = f"churn-run-{number}"
        if name in self.jobs:
            return  # AlreadyExists, and ours
        self.created.append(number)
        workers = self.record().spec.workers
        self.jobs[name] = RunJob(
            name=name,
            uid=f"{name}/{len(self.created)}",
            number=number,
            created=self.now,
            started=self.now,
            parallelism=workers.replicas,
            applied_workers=workers.replicas,
            applied_pods=fingerprint_of_pods(workers),
        )

    # What the cluster does by itself.

    def let_controllers_work(self) -> None:
        """Bring pods and Jobs to what the Job controller and the garbage collector make of them."""
        for name in list(self.jobs):
            self._judge_job(name)
            if self.jobs[name].end is None:
                self._make_pods(self.jobs[name])
        owners = {job.uid for job in self.jobs.values() if job.end is None}
        for pod in self.pods:
            if (
                pod.seen.owner_uid not in owners
                and not pod.seen.is_over
                and pod.seen.deleted is None
            ):
                pod.change(deleted=self.now, grace_seconds=GRACE_SECONDS)

    def _judge_job(self, name: str) -> None:
        job = self.jobs[name]
        if job.end is not None:
            return
        ends = [pod.seen for pod in self.pods if pod.seen.owner_uid == job.uid and pod.seen.is_over]
        codes = {(pod.index, pod.termination.exit_code) for pod in ends if pod.termination}
        if any(64 <= code < 80 for _, code in codes):
            self._change_job(name, end=JobEnd.FAILED, end_reason="PodFailurePolicy")
        elif self._failures.get(job.uid, 0) > BACKOFF_LIMIT:
            self._change_job(name, end=JobEnd.FAILED, end_reason="BackoffLimitExceeded")
        elif (0, 0) in codes:
            self._change_job(name, end=JobEnd.COMPLETE)

    def _make_pods(self, job: RunJob) -> None:
        alive = {pod.seen.index for pod in self.pods if self._serves(pod, job)}
        for index in range(job.parallelism):
            if index not in alive:
                serial = len(self.pods)
                pod = RunPod(
                    name=f"{job.name}-{index}-{serial}",
                    uid=f"pod-{serial}",
                    run=job.number,
                    owner_uid=job.uid,
                    index=index,
                    created=self.now + timedelta(microseconds=serial),
                )
                self.pods.append(Pod(seen=pod))
        for pod in self.pods:
            beyond = (pod.seen.index or 0) >= job.parallelism
            if self._serves(pod, job) and beyond and pod.seen.deleted is None:
                pod.change(deleted=self.now, grace_seconds=GRACE_SECONDS)

    def _serves(self, pod: Pod, job: RunJob) -> bool:
        return pod.seen.owner_uid == job.uid and not pod.seen.is_over

    # What may happen.

    def moves(self) -> list[Move]:
        """Everything that may happen next."""
        moves = [
            Move("the controllers work", self.let_controllers_work),
            Move("a second passes", lambda: self.wait(1)),
            Move("half a minute passes", lambda: self.wait(30)),
            Move("five minutes pass", lambda: self.wait(300)),
            Move("somebody suspends or resumes", self._toggle_suspend),
            Move("somebody scales", self._scale),
            Move("the network breaks or heals", self._toggle_network),
            Move("a mesh comes or goes", self._toggle_mesh),
        ]
        moves.extend(
            Move(f"somebody deletes {name}", lambda name=name: self._delete_by_hand(name))
            for name in self.jobs
        )
        for pod in self.pods:
            moves.extend(
                Move(f"{pod.seen.name} {name}", make) for name, make in self._moves_of(pod)
            )
        return moves

    def take(self, move: Move) -> None:
        self.history.append(move.name)
        move.make()

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _toggle_suspend(self) -> None:
        self.changes = self.changes | {"spec.suspend": not self.changes.get("spec.suspend")}

    def _scale(self) -> None:
        workers = self.changes.get("spec.workers.replicas", 1)
        self.changes = self.changes | {"spec.workers.replicas": 3 - workers}

    def _toggle_network(self) -> None:
        self.is_reachable = not self.is_reachable

    def _toggle_mesh(self) -> None:
        self.has_sidecars = not self.has_sidecars

    def _delete_by_hand(self, name: str) -> None:
        del self.jobs[name]

    def _moves_of(self, pod: Pod) -> Iterator[tuple[str, Callable[[], None]]]:
        if pod.seen.is_over:
            return
        if pod.is_lost:
            yield "comes back and ends", lambda: self.end(pod, 143)
            return
        if pod.seen.deleted is not None:
            yield "ends as it was told", lambda: self.end(pod, 143)
        if pod.is_kept:
            yield "is evicted", lambda: self._disrupt(pod, "EvictionByEvictionAPI")
            yield "loses its node", lambda: self._lose(pod)
            return
        if not pod.is_up:
            yield "starts", lambda: self._start(pod)
            yield "is refused by its node", lambda: self._reject(pod)
            return
        yield "crashes", lambda: self.end(pod, 1)
        yield "runs out of memory", lambda: self.end(pod, 137, word="OOMKilled")
        yield "is evicted", lambda: self._disrupt(pod, "EvictionByEvictionAPI")
        yield "loses its node", lambda: self._lose(pod)
        if pod.seen.index == 0:
            yield "gets on", lambda: self.get_on(pod)
            yield "ends and leaves no report", lambda: self.end(pod, 0)
            yield "finds what cannot be helped", self._doom
            yield "goes on without reports", self._lose_reports

    def _start(self, pod: Pod) -> None:
        if self.has_nodes:
            pod.change(running_since=self.now, phase="Running", ip="10.0.0.7", node="node-a")

    def _reject(self, pod: Pod) -> None:
        pod.change(phase="Failed", failure_reason="UnexpectedAdmissionError")
        self._count_failure(pod)

    def _disrupt(self, pod: Pod, reason: str) -> None:
        deleted = pod.seen.deleted or self.now
        pod.change(deleted=deleted, grace_seconds=GRACE_SECONDS, disruption=reason)

    def _lose(self, pod: Pod) -> None:
        pod.is_lost = True
        self._disrupt(pod, "DeletionByTaintManager")

    def _doom(self) -> None:
        self.is_doomed = True

    def _lose_reports(self) -> None:
        self.reports_are_lost = True

    def get_on(self, head: Pod) -> None:
        """Let a first pod do its next piece of work: a shard, the result, or giving up."""
        if head.seen.owner_uid not in self.equipped:
            return  # its Secret is not there
        if self.is_doomed and not self.has_result:
            self.end(head, 70, make_failure(Reason.SCHEMA_MISMATCH, "column 'age' is missing"))
        elif self.committed < SHARDS:
            self.committed += 1
        else:
            self.has_result = True
            rows = RowCounts(total=SHARDS, processed=SHARDS, written=SHARDS)
            shards = ShardCounts(total=SHARDS, succeeded=SHARDS)
            self.end(head, 0, make_success(run_number=head.seen.run, rows=rows, shards=shards))

    def end(
        self, pod: Pod, code: int, report: ProgressReport | None = None, *, word: str = ""
    ) -> None:
        kept = None if self.reports_are_lost else report
        end = Termination(exit_code=code, reason=word, finished=self.now, report=kept)
        end = pod.seen.termination or end
        pod.change(running_since=None, termination=end)
        if self.has_sidecars and pod.seen.deleted is None:
            return
        pod.change(phase="Failed" if end.exit_code else "Succeeded")
        if end.exit_code:
            self._count_failure(pod)

    def _count_failure(self, pod: Pod) -> None:
        owner = pod.seen.owner_uid
        if not pod.seen.disruption:
            self._failures[owner] = self._failures.get(owner, 0) + 1

    def _change_job(self, name: str, **changes: Any) -> None:
        self.jobs[name] = replace(self.jobs[name], **changes)

    # What may be said about it.

    def head_of(self, run: RunJob) -> Pod | None:
        heads = [pod for pod in self.pods if pod.seen.owner_uid == run.uid and pod.seen.index == 0]
        return max(heads, key=lambda pod: pod.seen.created, default=None)

    def living_heads(self) -> list[str]:
        """First pods that may be at work and were not fenced off, of whatever run."""
        return [
            pod.seen.name
            for pod in self.pods
            if pod.seen.index == 0
            and not pod.seen.is_over
            and (pod.seen.deleted is None or self.now < pod.seen.deleted + FENCE)
        ]

    def let_pods_work(self) -> None:
        """Let every pod do what it would do if nothing went wrong."""
        for pod in self.pods:
            if pod.seen.is_over or pod.is_lost:
                continue
            if pod.seen.deleted is not None:
                self.end(pod, 143)
            elif pod.is_kept:
                continue
            elif not pod.is_up:
                self._start(pod)
            elif pod.seen.index == 0:
                self.get_on(pod)

    def come_to_rest(self, *, seconds: float = 5, most_steps: int = 300) -> None:
        """Let operator, controllers and pods work until nothing more is to be done."""
        for _ in range(most_steps):
            if self.is_at_rest():
                return
            self.reconcile()
            self.let_controllers_work()
            self.let_pods_work()
            self.wait(seconds)
        raise AssertionError("no rest: " + "\n".join(self.history[-40:]))

    def is_at_rest(self) -> bool:
        """Whether the job has ended, or is suspended as it should be."""
        found = {condition.type: condition.status for condition in self.status.conditions}
        is_finished = "True" in (found.get("Complete"), found.get("Failed"))
        is_suspended = found.get("Suspended") == "True" and bool(self.changes.get("spec.suspend"))
        return is_finished or is_suspended

    def is_cleared(self) -> bool:
        """Whether no pod is left but those of lost nodes, and no Job that would make more."""
        alive = [pod for pod in self.pods if not pod.seen.is_over and not pod.is_lost]
        return not alive and all(job.end is not None for job in self.jobs.values())
