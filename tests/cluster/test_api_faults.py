"""The operator's process against an API server that fails it: A5-A10, A14, A15, B25 of the faults.

Its pods fit no node, so nothing but control traffic happens; every other operator of the cluster
takes the jobs for somebody else's. After every fault a job stands where it would have without it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from testkit.api_proxy import (
    Answer,
    Call,
    Cut,
    Delay,
    Expire,
    Fault,
    Freeze,
    Late,
    Lose,
    Prune,
    Stale,
    Twice,
)
from testkit.api_scenes import (
    STEP_SECONDS,
    Job,
    Scene,
    open_scene,
    says,
    summary,
    tell,
)
from testkit.checkout import ROOT
from testkit.cluster.provider import Cluster
from testkit.cluster_jobs import KIND
from testkit.deadlines import wait_for
from testkit.soak import scaled

CRD = ROOT / "crds" / "batchinference.dev_batchinferencejobs.yaml"
STATUS = f"{KIND.partition('.')[0]}/status"
OUTAGE_SECONDS = scaled(4, soak=600)
CAUGHT_UP_SECONDS = 30
FROZEN_SECONDS = 75


@pytest.fixture(scope="module", autouse=True)
def _crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    name = "crd/batchinferencejobs.batchinference.dev"
    cluster.kubectl.wait_until_established(name)


@pytest.fixture(autouse=True)
def _kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


@pytest.fixture(scope="module")
def scene(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An operator that depends on its watches: it lists anew after minutes only."""
    with ExitStack() as stack:
        yield open_scene(stack, cluster, tmp_path_factory.mktemp("watching"))


@pytest.fixture(scope="module")
def listing_scene(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An operator that lists everything every second."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("listing")
        yield open_scene(stack, cluster, folder, BIO_RESYNC_SECONDS="1")


@pytest.fixture(scope="module")
def undisturbed(scene: Scene) -> dict[str, Any]:
    """How a job stands after each step when nothing goes wrong."""
    patch = pytest.MonkeyPatch()
    with patch.context() as environment:
        environment.setenv("KUBECONFIG", str(scene.namespace.cluster.kubeconfig))
        return tell(scene, "undisturbed")["undisturbed"]


def calls(verb: str, resource: str, name: str = "") -> Callable[[Call], bool]:
    """Calls of that verb on that resource, about one job if it is named."""

    def applies(call: Call) -> bool:
        is_such = (call.verb, call.resource) == (verb, resource)
        return is_such and (not name or call.is_about(name))

    return applies


CREATE, WRITE = ("create", "jobs"), ("patch", STATUS)
SLOW = Answer(429, "TooManyRequests", retry_after=2)
ANSWERS: dict[str, tuple[Fault, tuple[str, str], int]] = {
    "created-500": (Answer(500, "InternalError"), CREATE, 2),
    "created-and-500": (Answer(500, "InternalError", took_effect=True), CREATE, 1),
    "created-cut": (Cut(), CREATE, 1),
    "created-429": (SLOW, CREATE, 2),
    "written-503": (Answer(503, "ServiceUnavailable"), WRITE, 2),
    "written-and-500": (Answer(500, "InternalError", took_effect=True), WRITE, 1),
    "written-409": (Answer(409, "Conflict"), WRITE, 3),
    "written-429": (SLOW, WRITE, 2),
    "written-late": (Delay(scaled(2, soak=20)), WRITE, 1),
    "scaled-500": (Answer(500, "InternalError"), ("patch", "jobs"), 2),
    "deleted-and-504": (Answer(504, "Timeout", took_effect=True), ("delete", "jobs"), 1),
    "served-500": (Answer(500, "InternalError"), ("create", "services"), 2),
}
MOST_CALLS = 40
"""Of one job for its whole story, faults included: a hot loop makes hundreds in these seconds."""


def test_a_job_arrives_whatever_the_server_answers(
    scene: Scene, undisturbed: dict[str, Any]
) -> None:
    with ExitStack() as faults:
        rules = {
            name: faults.enter_context(
                scene.proxy.disturbed(fault, calls(*where, name), times=times)
            )
            for name, (fault, where, times) in ANSWERS.items()
        }
        told = tell(scene, *ANSWERS)
    for name, rule in rules.items():
        assert told[name] == undisturbed, name
        assert rule.hits == rule.times, f"{name} was not disturbed"
        about = scene.proxy.seen(lambda call, name=name: call.is_about(name))
        assert len(about) <= MOST_CALLS, f"{name}: {len(about)} calls"
    for name in ("created-429", "written-429"):
        assert min(pauses(scene.proxy.seen(calls(*ANSWERS[name][1], name)))[:2]) >= 2, name


def pauses(seen: list[Call]) -> list[float]:
    return [after.at - before.at for before, after in pairwise(seen)]


def watches(call: Call) -> bool:
    return call.verb == "watch"


WATCHES: dict[str, tuple[tuple[Fault, int | None], ...]] = {
    "expired-cut-and-twice": ((Expire(), 2), (Cut(), 2), (Twice(), None)),
    "late": ((Late(0.5), None),),
}


@pytest.mark.parametrize("name", WATCHES)
def test_a_job_arrives_whatever_the_watch_does(
    scene: Scene, undisturbed: dict[str, Any], name: str
) -> None:
    began = time.monotonic()
    with ExitStack() as faults:
        rules = [
            faults.enter_context(scene.proxy.disturbed(fault, watches, times=times))
            for fault, times in WATCHES[name]
        ]
        assert tell(scene, name)[name] == undisturbed
    assert all(rule.hits for rule in rules), rules
    opened = [call for call in scene.proxy.seen(watches) if call.at > began]
    assert len(opened) <= 12, "watches are opened again in a hot loop"


def test_a_status_that_somebody_else_wrote_meanwhile_is_not_overwritten_unread(
    scene: Scene,
) -> None:
    name = "two-writers"
    scene.apply(name)
    scene.wait_for_condition(name, "Reconciling", "Unschedulable")
    theirs = {
        "type": "Audited",
        "status": "True",
        "reason": "Theirs",
        "message": "",
        "lastTransitionTime": "2026-08-01T12:00:00Z",
    }
    with scene.proxy.disturbed(Lose(), calls("watch", KIND.partition(".")[0])):
        scene.write_status(name, [{"op": "add", "path": "/status/conditions/-", "value": theirs}])
        # Only its Job tells the operator to look, at what is not the job's last version.
        (run,) = scene.run_jobs(name)
        scene.namespace.kubectl("delete", "job", run["metadata"]["name"])
        wait_for(
            lambda: scene.get(name)["status"]["run"]["number"] == 2,
            seconds=STEP_SECONDS,
            what="the next run in the status",
        )
    assert says(scene.get(name), "Audited", "Theirs")
    patches = scene.proxy.seen(calls("patch", STATUS, name))
    assert len(patches) <= 10, "a conflict is met again and again"


def test_what_users_make_up_stops_no_other_job(scene: Scene, undisturbed: dict[str, Any]) -> None:
    annotations = {
        "kopf.zalando.org/last-handled-configuration": "{not json",
        "batchinference.dev/applied-workers": "\u0661\u00b2",
        "batchinference.dev/status": "[" * 1_000,
    }
    labels = {"batchinference.dev/run": "99999", "batchinference.dev/job-uid": "x"}
    scene.apply("forged", annotations=annotations, labels=labels)
    forged = scene.wait_for_condition("forged", "Reconciling", "Unschedulable")
    kubectl = scene.namespace.kubectl
    kubectl.apply(*(make_forged_child(forged, kind, run) for kind, run in FORGED))
    loud = f"forged-pod-{FORGED[-1][1]}"
    kubectl("patch", "pod", loud, "--subresource=status", "-p", json.dumps(HUGE))
    scene.write_status(
        "forged",
        [
            {"op": "add", "path": "/status/startTime", "value": "0001-01-01T00:00:00+14:00"},
            {"op": "add", "path": "/status/run/number", "value": 2**53 - 1},
            {"op": "add", "path": "/status/duration", "value": "\u0000" * 32},
        ],
    )
    assert tell(scene, "honest")["honest"] == undisturbed
    theirs = [job for job in scene.run_jobs("forged") if "forged-job" in job["metadata"]["name"]]
    assert [job["spec"]["parallelism"] for job in theirs] == [5, 5, 5], "scaled or deleted"
    assert scene.operator.process.poll() is None


FORGED = (("Job", "7"), ("Job", "9" * 63), ("Job", "one"), ("Pod", "9" * 60), ("Pod", "1"))
HUGE = {
    "status": {
        "phase": "Failed",
        "reason": "Evicted",
        "message": "m" * 60_000,
        "containerStatuses": [
            {
                "name": "runner",
                "image": "x",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "message": "[" * 60_000}},
            }
        ],
    }
}


def make_forged_child(job: Job, kind: str, run: str) -> Job:
    """Somebody else's Job or pod that has the labels of one of the job's own."""
    metadata = {
        "name": f"forged-{kind.lower()}-{run}"[:63],
        "labels": {
            "app.kubernetes.io/managed-by": "batch-inference-operator",
            "batchinference.dev/job-name": job["metadata"]["name"],
            "batchinference.dev/job-uid": job["metadata"]["uid"],
            "batchinference.dev/run": run,
            "batch.kubernetes.io/job-completion-index": "first",
        },
    }
    pod = {
        "restartPolicy": "Never",
        "nodeSelector": {"no": "such-node"},
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "runner",
                "image": "none.example/none",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
    spec = {"suspend": True, "parallelism": 5, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def test_a_status_that_somebody_strips_is_rebuilt_and_what_has_ended_stays_ended(
    scene: Scene,
) -> None:
    running, ended = "stripped-running", "stripped-ended"
    scene.apply(running)
    scene.apply(ended)
    scene.change(ended, preRunningDeadlineSeconds=1)
    before = scene.wait_for_condition(running, "Reconciling", "Unschedulable")
    end = scene.wait_for_condition(ended, "Failed", "PreRunningDeadlineExceeded")
    wait_for(lambda: not scene.run_jobs(ended), seconds=STEP_SECONDS, what="the Job to be gone")
    stripped = {}
    for name in (running, ended):
        written = scene.proxy.seen(calls("patch", STATUS, name))
        scene.write_status(name, [{"op": "replace", "path": "/status", "value": {}}])
        stripped[name] = len(written)
    for name, count in stripped.items():
        wait_for(
            lambda name=name, count=count: (
                len(scene.proxy.seen(calls("patch", STATUS, name))) > count
            ),
            seconds=STEP_SECONDS,
            what=f"a status of {name} that is written anew",
        )
    rebuilt = scene.wait_for_condition(running, "Reconciling", "Unschedulable")
    restored = scene.wait_for_condition(ended, "Failed", "PreRunningDeadlineExceeded")
    assert summary(rebuilt) == summary(before)
    assert [job["metadata"]["name"] for job in scene.run_jobs(running)] == [
        before["status"]["run"]["jobName"]
    ]
    assert restored["status"] == end["status"]
    assert scene.run_jobs(ended) == []


def sees_jobs(call: Call) -> bool:
    return call.resource.partition("/")[0] == KIND.partition(".")[0]


PRUNED = {
    "workers": lambda job: job["spec"].pop("workers", None),
    "model": lambda job: job["spec"].pop("model", None),
    "job-uid": lambda job: job.get("status", {}).get("run", {}).pop("jobUid", None),
}


def prune(job: Job) -> None:
    """Cut off one field of each job, as the CRD of an earlier release would."""
    name = job.get("metadata", {}).get("name", "")
    if name.startswith("pruned-"):
        PRUNED[name.removeprefix("pruned-")](job)


def test_an_older_crd_that_lacks_a_field_costs_no_pod(scene: Scene) -> None:
    names = [f"pruned-{field}" for field in PRUNED]
    for name in names:
        scene.apply(name)
        scene.change(name, workers={"replicas": 3})
    for name in names:
        scene.wait_for_condition(name, "Reconciling", "Unschedulable")
    before = [job["spec"] for name in names for job in scene.run_jobs(name)]
    assert [spec["parallelism"] for spec in before] == [3, 3, 3]
    with scene.proxy.disturbed(Prune(prune), sees_jobs):
        began = time.monotonic()
        scene.namespace.kubectl("annotate", KIND, *names, "look=again")
        time.sleep(4)
        calls_since = [call for call in scene.proxy.calls if call.at > began]
    assert [job["spec"] for name in names for job in scene.run_jobs(name)] == before
    for name in names:
        about = [call for call in calls_since if call.is_about(name)]
        assert len(about) <= 6, about
        assert not [c for c in about if c.verb in ("create", "delete") and c.resource != "events"]


def test_a_job_arrives_though_watches_lose_events_and_lists_are_old(
    listing_scene: Scene, undisturbed: dict[str, Any]
) -> None:
    with listing_scene.proxy.disturbed(Lose(), watches) as lost:
        assert tell(listing_scene, "unseen")["unseen"] == undisturbed
        assert lost.hits > 0
    with listing_scene.proxy.disturbed(Stale(), resyncs) as old:
        assert tell(listing_scene, "stale")["stale"] == undisturbed
        wait_for(lambda: old.hits >= 3, seconds=STEP_SECONDS, what="an old list of each kind")


def resyncs(call: Call) -> bool:
    """Lists of everything; what decides for good is read by other lists, from the quorum."""
    return call.verb == "list" and call.is_of_everything


def test_a_server_that_was_away_is_caught_up_with(
    scene: Scene, undisturbed: dict[str, Any]
) -> None:
    scene.apply("through-outage")
    scene.wait_for_condition("through-outage", "Reconciling", "Unschedulable")
    began = time.monotonic()
    with scene.proxy.disturbed(Cut(), lambda _call: True):
        scene.proxy.cut_watches()
        scene.change("through-outage", suspend=True)
        scene.apply("in-outage")
        time.sleep(OUTAGE_SECONDS)
        tries = [call for call in scene.proxy.calls if call.at > began]
        assert len(tries) <= 12 * OUTAGE_SECONDS, "a hot loop against a server that is away"
    back = time.monotonic()
    scene.wait_for_condition("through-outage", "Suspended", "Suspended", seconds=CAUGHT_UP_SECONDS)
    found = scene.wait_for_condition(
        "in-outage", "Reconciling", "Unschedulable", seconds=CAUGHT_UP_SECONDS
    )
    assert time.monotonic() - back <= CAUGHT_UP_SECONDS
    assert summary(found) == undisturbed["steps"][0]


@pytest.mark.soak
@pytest.mark.soak_only
def test_a_watch_that_went_silent_is_opened_again(scene: Scene) -> None:
    began = time.monotonic()
    with scene.proxy.disturbed(Freeze(), watches) as frozen:
        scene.apply("unheard")  # its event is the first that is not passed on
        wait_for(lambda: frozen.hits > 0, seconds=STEP_SECONDS, what="a frozen watch")
    scene.wait_for_condition("unheard", "Reconciling", "Unschedulable", seconds=FROZEN_SECONDS)
    assert time.monotonic() - began > 10, "the watch was not frozen"
