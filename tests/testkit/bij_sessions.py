"""`kubectl bij` without a cluster: jobs as a server would hold them, and what was asked of it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from batch_inference_api.v1alpha1.status import Phase
from batch_inference_operator.carry_out import status_document
from batch_inference_operator.cluster.api import ClusterError, NotFound
from batch_inference_operator.cluster.user_calls import JobChange, JobList
from batch_inference_operator.decide.conditions import State, conditions_of
from batch_inference_operator.decide.record import Record, format_time, read_record
from batch_inference_operator.kubectl_bij.feed import Outage, Snapshot
from batch_inference_operator.kubectl_bij.session import Session
from batch_inference_operator.names import COMPLETION_INDEX_LABEL, run_labels

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)
UID = "0d9f7c9e-1111-4222-8333-444455556666"
HALF_WAY: Mapping[str, Any] = {
    "startTime": format_time(NOW - timedelta(minutes=6, seconds=12)),
    "duration": "6m12s",
    "progress": {
        "percentage": 61,
        "rowsProcessed": 12_200_000,
        "rowsTotal": 20_000_000,
        "rowsPerSecond": 48_210,
        "estimatedRemainingSeconds": 162,
        "lastUpdatedTime": format_time(NOW - timedelta(seconds=4)),
    },
    "completionStats": {
        "successfulCount": 12_199_988,
        "failedCount": 12,
        "filteredCount": 0,
        "incompleteCount": 7_800_000,
    },
    "shards": {"total": 20, "pending": 5, "active": 3, "succeeded": 12, "failed": 0},
    "workers": {"desired": 4, "ready": 3},
    "run": {"number": 1, "jobName": "churn-ab12cd", "attempt": 1},
    "model": {
        "resolvedDigest": "sha256:" + "5" * 64,
        "executionProvider": "CPUExecutionProvider",
        "batchSize": 2048,
    },
}


def job_object(
    name: str = "churn",
    *,
    phase: Phase | None = None,
    state: State | None = None,
    reason: str = "",
    message: str = "",
    status: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    since: datetime = NOW - timedelta(minutes=3),
) -> dict[str, Any]:
    """A job as the server holds it; without a state the operator has not looked at it."""
    written: dict[str, Any] = {"observedGeneration": -1}
    if state is not None:
        conditions = conditions_of(
            state,
            reason=reason or (phase or Phase.PENDING).value,
            message=message,
            report=None,
            previous=(),
            generation=1,
            now=since,
        )
        written = {
            "observedGeneration": 1,
            "phase": (phase or Phase.PENDING).value,
            **(status or {}),
            "conditions": [c.model_dump(mode="json", by_alias=True) for c in conditions],
        }
    return {
        "apiVersion": "batchinference.dev/v1alpha1",
        "kind": "BatchInferenceJob",
        "metadata": {
            "name": name,
            "namespace": "scoring",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": format_time(NOW - timedelta(minutes=10)),
            **(metadata or {}),
        },
        "spec": {
            "model": {"storageUri": "s3://models/churn.onnx"},
            "input": {"storageUris": ["s3://lake/customers/"], "format": "Parquet"},
            "output": {"storageUri": "s3://lake/scores/"},
            **(spec or {}),
        },
        "status": written,
    }


def running_job(name: str = "churn", **changes: Any) -> dict[str, Any]:
    """A job half-way through."""
    values: dict[str, Any] = {
        "phase": Phase.RUNNING,
        "state": State.IN_PROGRESS,
        "message": "rows are scored",
        "status": HALF_WAY,
    }
    return job_object(name, **{**values, **changes})


def complete_job(name: str = "churn") -> dict[str, Any]:
    """A job that is complete."""
    return job_object(
        name,
        phase=Phase.SUCCEEDED,
        state=State.COMPLETE,
        reason="Succeeded",
        message="19999988 rows written, 12 rejected",
    )


def failed_job(name: str = "churn", reason: str = "SchemaMismatch") -> dict[str, Any]:
    """A job that has failed."""
    return job_object(
        name,
        phase=Phase.FAILED,
        state=State.FAILED,
        reason=reason,
        message="column 'age' is missing",
    )


def suspended_job(name: str = "churn") -> dict[str, Any]:
    """A job that is suspended."""
    return job_object(
        name,
        phase=Phase.SUSPENDED,
        state=State.SUSPENDED,
        message="suspended by spec.suspend; what is committed stays",
        spec={"suspend": True},
        status={"shards": HALF_WAY["shards"]},
    )


def record(raw: Mapping[str, Any]) -> Record:
    """The job as commands see it."""
    assert status_document(read_record(raw).status)  # the status is one the CRD knows
    return read_record(raw)


def snapshot(*objects: Mapping[str, Any]) -> Snapshot:
    return Snapshot(tuple(map(read_record, objects)))


def pod_object(
    name: str,
    *,
    run: int = 1,
    index: int = 0,
    minute: int = 0,
    state: str = "running",
    sidecar: str = "running",
) -> dict[str, Any]:
    """A pod of a run, as the server holds it."""
    details = {"reason": "ContainerCreating"} if state == "waiting" else {}
    phase = {"waiting": "Pending", "running": "Running", "terminated": "Failed"}[state]
    labels = {**run_labels("churn", UID, run), COMPLETION_INDEX_LABEL: str(index)}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-08-01T11:{minute:02d}:00Z",
            "labels": labels,
        },
        "status": {
            "phase": phase,
            # A mesh adds a container; the API server sorts them by name.
            "containerStatuses": [
                {"name": "istio-proxy", "state": {sidecar: {}}},
                {"name": "runner", "state": {state: details}},
            ],
        },
    }


@dataclass
class FakeCalls:
    """Holds objects; each watch tells the changes of one list and ends."""

    jobs: list[Mapping[str, Any]] = field(default_factory=list)
    pods: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    logs: dict[str, list[bytes]] = field(default_factory=dict)
    watches: list[list[JobChange] | ClusterError] = field(default_factory=list)
    suspended: list[tuple[str, bool]] = field(default_factory=list)
    refusal: ClusterError | None = None
    namespace: str = "scoring"

    def get_job(self, name: str) -> Mapping[str, Any]:
        self._check()
        for job in self.jobs:
            if job["metadata"]["name"] == name:
                return job
        raise NotFound(f'batchinferencejobs.batchinference.dev "{name}" not found')

    def list_jobs(self, name: str | None = None) -> JobList:
        self._check()
        found = [job for job in self.jobs if name in (None, job["metadata"]["name"])]
        return JobList(items=tuple(found), version="7")

    def watch_jobs(self, version: str, name: str | None = None) -> Iterator[JobChange]:
        assert version == "7"
        assert all(name in (None, job["metadata"]["name"]) for job in self.jobs)
        changes = self.watches.pop(0)
        if isinstance(changes, ClusterError):
            raise changes
        yield from changes

    def list_pods(self, labels: str) -> tuple[Mapping[str, Any], ...]:
        assert UID in labels
        return tuple(self.pods)

    def list_events(self, uid: str) -> tuple[Mapping[str, Any], ...]:
        assert uid == UID
        self._check()
        return tuple(self.events)

    def read_log(
        self, pod: str, *, container: str, follow: bool, tail: int | None
    ) -> Iterator[bytes]:
        assert container == "runner"
        assert isinstance(follow, bool)
        lines = self.logs[pod]
        yield from lines if tail is None else lines[len(lines) - tail :]

    def set_suspend(self, name: str, *, uid: str, suspend: bool) -> None:
        assert uid == UID
        self.suspended.append((name, suspend))

    def _check(self) -> None:
        if self.refusal is not None:
            raise self.refusal


class ScriptedFeed:
    """Brings one thing after another; waiting for more than there is lets the time pass."""

    def __init__(self, seen: Iterable[Snapshot | Outage | None]) -> None:
        self._seen = list(seen)
        self.seconds = 0.0
        self._patience = 1000

    def clock(self) -> float:
        return self.seconds

    def next(self, timeout_seconds: float) -> Snapshot | Outage | None:
        seen = self._seen.pop(0) if self._seen else None
        if seen is None:
            self.seconds += timeout_seconds
            self._patience -= 1
            assert self._patience, "nothing ends the wait for what does not come"
        return seen


def session(calls: FakeCalls, *, flags: str = "") -> Session:
    """A session that prints into memory."""
    return Session(
        calls=calls,
        out=io.StringIO(),
        err=io.StringIO(),
        environment={},
        now=lambda: NOW,
        flags=flags,
    )


def printed(session: Session) -> list[str]:
    """What went to stdout."""
    assert isinstance(session.out, io.StringIO)
    return session.out.getvalue().splitlines()


def told(session: Session) -> list[str]:
    """What went to stderr."""
    assert isinstance(session.err, io.StringIO)
    return session.err.getvalue().splitlines()
