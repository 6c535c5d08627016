"""One job is brought a step further: what is written, how often, and over what it is not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RowCounts
from batch_inference_operator.cache import Kind, ObjectCache
from batch_inference_operator.carry_out import status_document
from batch_inference_operator.cluster.api import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Unadmitted,
)
from batch_inference_operator.keys import Key
from batch_inference_operator.names import run_name
from batch_inference_operator.progress_poll import Poll, PollTarget
from batch_inference_operator.reconcile import Reconciler
from testkit.observations import NOW, SETTINGS, finished_status, make_record, make_report, why
from testkit.operator_jobs import JOB_UID, make_stored_manifest
from testkit.sent_objects import RUNNING, job_as_sent, pod_as_sent

KEY = Key("scoring", "churn")


@dataclass
class Server:
    """Holds one job. What an older CRD does not know, `prune` takes out of each status."""

    stored: dict[str, Any]
    prune: str = ""
    children: dict[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refused: str = ""
    """A kind that may not be created."""
    refusal: ClusterError = field(default_factory=lambda: Forbidden("exceeded quota"))
    in_the_way: dict[str, Any] | None = None
    """Metadata of a Job that has the name of the run."""

    async def list(self, kind: str, **_: Any) -> tuple[dict[str, Any], ...]:
        self.calls.append(f"list {kind}")
        return (self.stored,) if kind == "BatchInferenceJob" else self.children.get(kind, ())

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(f"create {manifest['kind']}")
        if manifest["kind"] == self.refused:
            raise self.refusal
        if manifest["kind"] == "Job" and self.in_the_way is not None:
            raise AlreadyExists(f"{manifest['metadata']['name']} already exists")
        return manifest

    async def get(self, kind: str, name: str, *, namespace: str) -> dict[str, Any]:
        assert (kind, namespace) == ("Job", "scoring")
        assert self.in_the_way is not None
        return {"metadata": {"name": name, **self.in_the_way}}

    async def replace_status(
        self, _name: str, *, namespace: str, resource_version: str, status: dict[str, Any]
    ) -> dict[str, Any]:
        assert namespace == "scoring"
        if resource_version != self.stored["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        self.calls.append("write")
        self.change(status={name: status[name] for name in status if name != self.prune})
        return self.stored

    def change(self, *, status: dict[str, Any]) -> None:
        metadata = self.stored["metadata"]
        version = str(int(metadata["resourceVersion"]) + 1)
        self.stored = {
            **self.stored,
            "metadata": metadata | {"resourceVersion": version},
            "status": status,
        }

    @property
    def writes(self) -> int:
        return self.calls.count("write")


class Operator:
    """A reconciler with a clock of its own; nothing is watched unless a test says so."""

    def __init__(self, server: Server, *, poll: Any = None) -> None:
        self.now = NOW
        self.cache = ObjectCache()
        self._server = server
        self._reconciler = Reconciler(
            cluster=server,  # type: ignore[arg-type] # the calls of these tests
            cache=self.cache,
            settings=SETTINGS,
            poll_progress=poll or ask_nobody,
            clock=self.tell_time,
            make_token=lambda: "token",
        )
        self.hear()

    def tell_time(self) -> datetime:
        return self.now

    def hear(self) -> None:
        self.cache.see(Kind.JOB, self._server.stored)

    def look(self, *, after_seconds: float = 0) -> float | None:
        self.now += timedelta(seconds=after_seconds)
        return asyncio.run(self._reconciler.reconcile(KEY))

    def hear_of(self, *children: dict[str, Any]) -> None:
        for raw in children:
            self.cache.see(Kind.RUN_JOB if "template" in raw["spec"] else Kind.POD, raw)


async def ask_nobody(_target: PollTarget) -> Poll:
    return Poll()


async def scores(_target: PollTarget) -> Poll:
    return Poll(report=make_report())


def make_server(status: dict[str, Any], **spec: Any) -> Server:
    changes = {f"spec.{name}": value for name, value in spec.items()}
    return Server(
        make_stored_manifest({"metadata.resourceVersion": "1", "status": status} | changes)
    )


def test_an_end_that_somebody_takes_back_is_written_again():
    end = status_document(make_record(status=finished_status("Failed")).status)
    server = make_server(end)
    operator = Operator(server)
    operator.look()
    server.change(status={})
    operator.hear()

    operator.look()

    assert server.stored["status"] == end
    assert server.calls == ["write"], "the job is run again"


def test_an_end_is_not_that_of_another_job_of_the_name():
    server = make_server(finished_status())
    operator = Operator(server)
    operator.look()
    server.change(status={})
    server.stored["metadata"] |= {"uid": "another"}
    operator.hear()

    operator.look()

    assert server.calls[-1] == "create Job"


@pytest.mark.parametrize("prune", ["phase", "workers"])
def test_a_status_of_which_the_server_keeps_only_a_part_is_written_seldom(prune):
    server = make_server({}, suspend=True)
    server.prune = prune
    operator = Operator(server)

    pauses = [operator.look(after_seconds=0.1) for _ in range(20)]

    assert server.writes == 1
    assert set(pauses[1:]) == {SETTINGS.progress_seconds}, "it would not be looked at again"
    operator.look(after_seconds=SETTINGS.progress_seconds)
    assert server.writes == 2


def test_no_deadline_is_missed_for_what_the_cache_does_not_know_yet():
    """It knows a pod that waits; the server has it running, and asked it scores."""
    server = make_server({}, preRunningDeadlineSeconds=30)
    run = job_as_sent()
    server.children = {"Job": (run,), "Pod": (pod_as_sent(RUNNING),)}
    operator = Operator(server, poll=scores)
    operator.hear_of(run, pod_as_sent(status={"phase": "Pending", "podIP": None}))

    operator.look()

    assert server.stored["status"]["phase"] == "Running"
    server.children["Pod"] = (pod_as_sent(status={"phase": "Pending", "podIP": None}),)
    server.change(status={})
    operator.hear()
    operator.look(after_seconds=60)
    assert server.stored["status"]["phase"] == "Failed"


def test_progress_is_written_though_the_clock_was_set_back():
    server = make_server({})
    server.children = {"Job": (job_as_sent(),), "Pod": (pod_as_sent(RUNNING),)}
    reports = iter([make_report(), make_report(rows=RowCounts(total=1000, processed=900))])

    async def answer(_target: PollTarget) -> Poll:
        return Poll(report=next(reports))

    operator = Operator(server, poll=answer)
    operator.hear_of(job_as_sent(), pod_as_sent(RUNNING))
    operator.look()
    operator.hear()
    operator.look(after_seconds=-3600)

    assert server.stored["status"]["progress"]["rowsProcessed"] == 900


def test_a_conflict_is_followed_by_a_look_at_the_job_itself():
    server = make_server({}, suspend=True)
    operator = Operator(server)
    server.change(status={"phase": "Pending", "partialFailures": [{"file": "theirs"}]})

    with pytest.raises(Conflict):
        operator.look()
    assert server.writes == 0
    operator.look()

    assert server.writes == 1
    assert server.stored["status"]["partialFailures"] == [{"file": "theirs"}]


def test_what_was_refused_is_asked_for_ever_more_seldom():
    """A quota may be full for hours, and a job that starts is looked at every second."""
    server = make_server({})
    server.children = {"Job": (job_as_sent(),), "Pod": (pod_as_sent(RUNNING),)}
    server.refused = "Service"
    operator = Operator(server)
    operator.hear_of(job_as_sent(), pod_as_sent(RUNNING))

    for _ in range(600):
        operator.look(after_seconds=1)
        operator.hear()

    assert 10 <= server.calls.count("create Service") <= 14
    assert "exceeded quota" in server.stored["status"]["conditions"][3]["message"]


def test_what_was_refused_is_asked_for_at_once_when_the_job_was_edited():
    server = make_server({})
    server.refused = "Job"
    operator = Operator(server)
    operator.look()
    operator.hear()
    operator.look(after_seconds=1)
    assert server.calls.count("create Job") == 1

    server.stored["metadata"]["generation"] += 1
    server.change(status=server.stored["status"])
    operator.hear()
    operator.look(after_seconds=1)

    assert server.calls.count("create Job") == 2


def test_a_job_whose_webhook_is_away_says_so_and_begins_when_it_is_back():
    server = make_server({})
    server.refused, server.refusal = "Job", Unadmitted('failed calling webhook "kueue"')
    operator = Operator(server)
    operator.look()
    operator.hear()
    assert why(make_record(status=server.stored["status"]).status) == (
        Reason.ADMISSION_UNAVAILABLE,
        'failed calling webhook "kueue"',
    )

    server.refused = ""
    operator.look(after_seconds=5)

    assert server.calls.count("create Job") == 2


@pytest.mark.parametrize(
    "metadata",
    [{}, {"ownerReferences": [{"uid": "another", "controller": True}]}],
    ids=["of nobody", "of another job"],
)
def test_a_job_whose_runs_name_is_taken_says_so_and_what_to_do(metadata):
    server = make_server({})
    server.in_the_way = metadata

    Operator(server).look()

    name = run_name("churn", JOB_UID, 1)
    reason, message = why(make_record(status=server.stored["status"]).status)
    assert reason == Reason.NAME_TAKEN
    assert message == (
        f"Job {name!r}, as the run would be named, exists and belongs to somebody else: delete it, "
        "and the run begins; or delete this job and apply it again, and its runs have other names"
    )


def test_a_run_that_another_look_has_created_is_in_nobodys_way():
    server = make_server({})
    server.in_the_way = {"ownerReferences": [{"uid": JOB_UID, "controller": True}]}

    Operator(server).look()

    assert server.writes == 0


def test_a_job_is_given_up_when_it_was_refused_for_as_long_as_its_pods_may_wait():
    server = make_server({}, preRunningDeadlineSeconds=60)
    server.refused = "Job"
    operator = Operator(server)

    reasons = []
    for _ in range(5):
        operator.look(after_seconds=15)
        operator.hear()
        reasons.append(server.stored["status"]["conditions"][3]["reason"])

    assert reasons == ["QuotaExceeded"] * 4 + ["PreRunningDeadlineExceeded"]


@pytest.mark.parametrize("status", [finished_status(), {"phase": "Pending"}])
def test_no_run_begins_for_a_job_that_has_changed_meanwhile(status):
    """The watch is late: another operator may have ended the job, and cleared its run away."""
    server = make_server({})
    operator = Operator(server)
    server.change(status=status)

    with pytest.raises(Conflict):
        operator.look()

    assert "create Job" not in server.calls
