"""What is written about a job: its status as JSON, and the events that tell of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from batch_inference_api.v1alpha1.status import JobStatus
from batch_inference_operator.carry_out import announce, status_document
from batch_inference_operator.cluster.api import AlreadyExists, ClusterError, Forbidden
from batch_inference_operator.decide.plan import Announcement
from kubernetes import client
from testkit.observations import (
    NOW,
    instant,
    make_pod,
    make_record,
    make_report,
    make_run,
    named_run,
    observe,
    running_status,
    status_for,
)
from testkit.operator_jobs import JOB_UID

SAID = Announcement(reason="RowRejected", message="row 3", is_warning=True)


class Events:
    """Takes events in, or refuses them all."""

    def __init__(self, refusal: ClusterError | None = None) -> None:
        self._refusal = refusal
        self.created: list[dict[str, Any]] = []

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.created.append(manifest)
        if self._refusal is not None:
            raise self._refusal
        return manifest


def announced(*announcements: Announcement, **job: Any) -> list[dict[str, Any]]:
    events = Events()
    record = make_record(**job)
    asyncio.run(announce(announcements, record, cluster=events, now=NOW))
    return events.created


def test_an_event_names_its_job_and_who_says_it():
    (event,) = announced(SAID)

    name = event["metadata"].pop("name")
    assert name.startswith("churn.")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "scoring"},
        "involvedObject": {
            "apiVersion": "batchinference.dev/v1alpha1",
            "kind": "BatchInferenceJob",
            "name": "churn",
            "namespace": "scoring",
            "uid": JOB_UID,
        },
        "type": "Warning",
        "reason": "RowRejected",
        "message": "row 3",
        "firstTimestamp": instant(),
        "lastTimestamp": instant(),
        "count": 1,
        "source": {"component": "batch-inference-operator"},
    }


def test_an_event_is_one_that_the_api_knows():
    (event,) = announced(SAID)

    assert client.CoreV1Event.model_validate(event).reason == "RowRejected"


def test_an_ordinary_event_is_normal():
    (event,) = announced(Announcement(reason="RunStarted", message="run 1"))

    assert event["type"] == "Normal"


def test_the_same_said_again_is_the_same_event():
    first, second = announced(SAID, SAID)

    assert first["metadata"]["name"] == second["metadata"]["name"]


def test_another_reason_message_job_or_run_is_another_event():
    others = [
        announced(Announcement(reason="RowRejected", message="row 4", is_warning=True)),
        announced(Announcement(reason="NullInput", message="row 3", is_warning=True)),
        announced(SAID, changes={"metadata.uid": "another"}),
        announced(SAID, status=running_status(number=2)),
    ]

    names = {event["metadata"]["name"] for (event,) in [announced(SAID), *others]}

    assert len(names) == 5


def test_the_longest_job_has_events_too():
    (event,) = announced(SAID, changes={"metadata.name": "a" * 52})

    assert len(event["metadata"]["name"]) <= 253


def test_an_event_is_as_long_as_an_event_may_be():
    (event,) = announced(Announcement(reason="X", message="x" * 5000))

    assert len(event["message"]) == 1024


def test_an_event_tells_no_secret():
    (event,) = announced(Announcement(reason="X", message="no https://me:hunter22@store/model"))

    assert event["message"] == "no https://***@store/model"


def test_an_event_that_is_there_already_is_nothing_to_tell(caplog):
    events = Events(AlreadyExists("it is"))

    asyncio.run(announce((SAID, SAID), make_record(), cluster=events, now=NOW))

    assert len(events.created) == 2
    assert caplog.records == []


def test_an_event_that_cannot_be_written_fails_nothing(caplog):
    events = Events(Forbidden("namespace is being terminated"))

    with caplog.at_level(logging.WARNING):
        asyncio.run(announce((SAID, SAID), make_record(), cluster=events, now=NOW))

    assert len(events.created) == 2
    assert [record.message for record in caplog.records] == ["event not written"] * 2


def test_a_status_leaves_out_what_is_not_known():
    status = status_for(make_record(), observe(make_run(), make_pod()))

    document = status_document(status)

    assert document["phase"] == "Starting"
    assert document["run"] == named_run()
    assert "progress" not in document
    assert "completionTime" not in document
    assert None not in document.values()


def test_a_status_is_read_back_as_it_was_written():
    status = status_for(make_record(), observe(make_run(), make_pod(), make_report()))

    assert make_record(status=status_document(status)).status == status


def test_an_empty_status_says_that_nothing_failed_and_nothing_holds():
    assert status_document(JobStatus()) == {"partialFailures": [], "conditions": []}
