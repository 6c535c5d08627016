"""Observations of every kind for property tests: likely ones, odd ones, and hostile reports.

Each field has a handful of values that differ in what matters. Pods, Jobs and reports are mixed
from these beforehand, hundreds of each, and tests draw whole ones: drawing field by field would
take ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import (
    ModelReport,
    OutputReport,
    ProgressReport,
    RowCounts,
    RowFailure,
    RunPhase,
    ShardCounts,
    WorkerCounts,
)
from batch_inference_operator.observation import (
    ClusterWarning,
    JobEnd,
    Observation,
    Refusal,
    RunJob,
    RunPod,
    Termination,
)
from testkit.observations import ago, make_report

_Made = TypeVar("_Made")

_HUGE = 10**30
_TEXTS = ("", "so it is", "\x1b[2J\x00", '"\\' * 600, "\N{SNOWMAN}" * 1200)
_INSTANTS = tuple(ago(seconds) for seconds in (-5, 0, 1, 29, 61, 131, 3600, 10**7))

_ROWS = (
    RowCounts(),
    RowCounts(total=1000, processed=400, written=400),
    RowCounts(total=1000, processed=1000, written=900, rejected=60, filtered=40),
    RowCounts(processed=700, written=1),
    RowCounts(total=0, processed=-1, written=-1, rejected=_HUGE, filtered=-_HUGE),
    RowCounts(total=-_HUGE, processed=_HUGE, written=_HUGE, rejected=-1, filtered=_HUGE),
)
_SHARDS = (
    ShardCounts(),
    ShardCounts(total=10, pending=3, active=2, succeeded=5, completed_indexes="0-4"),
    ShardCounts(total=10, succeeded=9, failed=1, completed_indexes="0-8", failed_indexes="9"),
    ShardCounts(total=-1, pending=-1, active=-1, succeeded=-1, failed=-1),
    ShardCounts(
        total=_HUGE, pending=_HUGE, active=_HUGE, succeeded=_HUGE, failed=_HUGE,
        completed_indexes="0-" + "9" * 2000, failed_indexes="\x00",
    ),
)  # fmt: skip
_MODELS = (
    None,
    ModelReport(resolved_digest="sha256:" + "a" * 64, execution_provider="X", batch_size=1),
    *(ModelReport(resolved_digest=text, execution_provider=text, batch_size=-1) for text in _TEXTS),
)
_OUTPUTS = (
    None,
    OutputReport(storage_uri="s3://lake/x/", files=3, bytes=10),
    *(
        OutputReport(storage_uri=text, manifest_uri=text, rejects_uri=text, files=-1, bytes=_HUGE)
        for text in _TEXTS
    ),
)
_FAILURES = (
    RowFailure(file="a", row=1, stage="Bind", error="NullInput", message="null"),
    *(
        RowFailure(file=text, row=-1, byte_offset=_HUGE, stage=text, error=text, message=text)
        for text in _TEXTS
    ),
)
_NUMBERS = (None, -1, 0, 1, 50, 100, 2**53, _HUGE)
_REASONS = (None, "", *(reason.value for reason in Reason), "New", "a b", "x" * 5000)


def _mix(make: Callable[[Random], _Made], count: int) -> tuple[_Made, ...]:
    """Make so many of a kind, the same in every run of the tests."""
    random = Random(count)
    return tuple(make(random) for _ in range(count))


def _make_report(random: Random) -> ProgressReport:
    """Make what a pod may say, which is whatever it likes within the contract."""
    number, other = random.choice(_NUMBERS), random.choice(_NUMBERS)
    return make_report(
        random.choice(list(RunPhase)),
        final=random.choice((True, False)),
        reason=random.choice(_REASONS),
        message=random.choice(_TEXTS),
        rows=random.choice(_ROWS),
        shards=random.choice(_SHARDS),
        model=random.choice(_MODELS),
        output=random.choice(_OUTPUTS),
        failures=(random.choice(_FAILURES),) * random.choice((0, 1, 20)),
        workers=WorkerCounts(ready=number or 0),
        attempt=other or 0,
        percentage=number,
        rows_per_second=other,
        estimated_remaining_seconds=number,
        cpu_seconds=other or 0,
        gpu_seconds=number or 0,
    )


REPORTS = _mix(_make_report, 500)


def _make_job(random: Random) -> RunJob:
    number = random.randint(1, 4)
    return RunJob(
        name=f"churn-run-{number}",
        uid=f"uid-of-run-{number}",
        number=number,
        created=random.choice(_INSTANTS),
        started=random.choice((None, *_INSTANTS)),
        suspended=random.random() < 0.2,
        being_deleted=random.random() < 0.2,
        finalizers=random.choice(((), ("a.example/audit",))),
        parallelism=random.choice((0, 1, 4)),
        applied_workers=random.choice((None, 1, 4)),
        end=random.choice((None, None, *JobEnd)),
        end_reason=random.choice(
            ("", "BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy")
        ),
    )


def _make_termination(random: Random) -> Termination:
    return Termination(
        exit_code=random.choice((0, 0, 1, 64, 70, 79, 137, 143, 255, -1)),
        reason=random.choice(("", "OOMKilled", "Error", "ContainerStatusUnknown")),
        finished=random.choice((None, *_INSTANTS)),
        report=random.choice((None, random.choice(REPORTS))),
        message=random.choice(_TEXTS),
        is_skewed=random.random() < 0.2,
    )


def _make_pod(random: Random) -> RunPod:
    serial, run = random.randint(0, 10**9), random.randint(1, 4)
    return RunPod(
        name=f"pod-{serial}",
        uid=f"uid-of-pod-{serial}",
        run=run,
        owner_uid=random.choice((None, "uid-of-a-copy", *[f"uid-of-run-{run}"] * 6)),
        index=random.choice((0, 0, 0, 1, 7, None)),
        created=random.choice(_INSTANTS),
        phase=random.choice(("Pending", "Running", "Running", "Succeeded", "Failed", "Unknown")),
        node=random.choice((None, "node-a")),
        deleted=random.choice((None, None, *_INSTANTS)),
        grace_seconds=random.choice((0, 10, 10**6)),
        running_since=random.choice((None, *_INSTANTS)),
        waiting_reason=random.choice(
            ("", "ErrImagePull", "CreateContainerConfigError", "StartError", "New")
        ),
        waiting_message=random.choice(_TEXTS),
        waiting_container=random.choice(("", "", "", *_TEXTS)),
        unscheduled_message=random.choice(
            ("", "", "0/3 nodes", 'persistentvolumeclaim "x" not found', "y" * 1200)
        ),
        awaited_scheduler=random.choice(("", "", "default-scheduler")),
        scheduling_gates=random.choice(((), (), ("a.example/gate",))),
        disruption=random.choice(("", "", "EvictionByEvictionAPI", "DeletionByTaintManager")),
        failure_reason=random.choice(("", "", "Evicted")),
        failure_message=random.choice(_TEXTS),
        termination=random.choice((None, _make_termination(random))),
    )


def _make_warning(random: Random) -> ClusterWarning:
    return ClusterWarning(
        reason=random.choice(
            (
                "FailedCreate",
                "FailedMount",
                "FailedAttachVolume",
                "FailedCreatePodSandBox",
                "New",
            )
        ),
        message=random.choice(
            (
                "exceeded quota: x",
                'secret "s" not found',
                'secret "churn-run-1" not found',
                "z" * 1200,
            )
        ),
        seen=random.choice(_INSTANTS),
    )


def _make_refusal(random: Random) -> Refusal | None:
    message = random.choice(("exceeded quota", "w" * 1200))
    refusal = Refusal(reason=random.choice(list(Reason)), message=message)
    return random.choice((None, None, refusal))


def _some(parts: tuple[_Made, ...], most: int) -> st.SearchStrategy[tuple[_Made, ...]]:
    return st.lists(st.sampled_from(parts), max_size=most).map(tuple)


def _jobs_of_one_number_each(jobs: tuple[RunJob, ...]) -> tuple[RunJob, ...]:
    return tuple({job.number: job for job in jobs}.values())


observations = st.builds(
    Observation,
    jobs=_some(_mix(_make_job, 300), 2).map(_jobs_of_one_number_each),
    pods=_some(_mix(_make_pod, 1000), 3),
    report=st.sampled_from((None,) * 200 + REPORTS),
    unreachable_seconds=st.sampled_from([0, 29.9, 30, 1e9]),
    is_poll_skewed=st.booleans(),
    warnings=_some(_mix(_make_warning, 50), 2),
    warnings_missed=st.booleans(),
    refusal=st.sampled_from(_mix(_make_refusal, 50)),
)
"""What the operator may see, whether or not a cluster could look like that."""

_SPECS = {
    "metadata.generation": (1, 7),
    "spec.suspend": (True,),
    "spec.activeDeadlineSeconds": (1, 600, 2_147_483_647),
    "spec.preRunningDeadlineSeconds": (1, 600),
    "spec.progressDeadlineSeconds": (1, 600),
    "spec.ttlSecondsAfterFinished": (0, 60),
    "spec.workers.replicas": (4,),
    "spec.workers.image": ("forbidden",),
    "spec.managedBy": ("example.com/other",),
    "spec.quantum": (1,),
    "metadata.deletionTimestamp": ("2026-08-01T11:59:00Z",),
}
changes_of_jobs = st.dictionaries(
    st.sampled_from(sorted(_SPECS)), st.integers(0, 2), max_size=2
).map(
    lambda picked: {path: _SPECS[path][pick % len(_SPECS[path])] for path, pick in picked.items()}
)
"""Changes to a stored job, as `make_record` takes them."""

moments = st.sampled_from([timedelta(0), timedelta(seconds=7), timedelta(hours=1)])
"""How much later the operator looks again."""

_STATUS_VALUES: dict[str, tuple[Any, ...]] = {
    "observedGeneration": (-1, 1, 99, "three"),
    "phase": ("Running", "Failed", "Teleporting", 7),
    "startTime": ("2026-08-01T11:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00", "soon"),
    "completionTime": ("2026-08-01T11:00:00Z", "never", None),
    "progress": ({"rowsProcessed": 500}, {"rowsProcessed": -1}, {"lastUpdatedTime": "x"}, []),
    "shards": ({"succeeded": 5, "active": 2}, {"succeeded": "many"}, None),
    "run": (
        {"number": 1, "jobName": "churn-run-1", "jobUid": "uid-of-run-1", "unreported": 2},
        {"number": 3, "unreported": 3},
        {"number": -3},
        "first",
    ),
    "conditions": (
        [],
        [{"type": "Complete", "status": "True"}],
        [
            {
                "type": "Reconciling",
                "status": "True",
                "lastTransitionTime": "x",
                "reason": "Running",
                "message": "",
            }
        ],
        [
            {
                "type": "Reconciling",
                "status": "True",
                "lastTransitionTime": "2026-08-01T11:00:00Z",
                "reason": "QuotaExceeded",
                "message": "q" * 5000,
            }
        ],
        {"Complete": True},
    ),
    "novelty": ({"deep": [1]},),
}
stored_statuses = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in _STATUS_VALUES.items()}
)
"""Statuses as JSON, as people and other releases may have left them."""
