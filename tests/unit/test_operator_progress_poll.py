"""What a pod says of its progress counts only if it is a report of the run that was asked for."""

from __future__ import annotations

import asyncio
import json

import pytest

from batch_inference_operator.progress_poll import (
    PollFailed,
    PollOutcome,
    PollTarget,
    ProgressPoller,
    progress_url,
    read_report,
)

TARGET = PollTarget(pod_uid="pod-1", ip="10.0.0.7", job_uid="uid-1", run_number=2)


def make_report(*, uid: str | None = "uid-1", run_number: int = 2, version: int = 1) -> bytes:
    report = {
        "contractVersion": version,
        "job": {"name": "churn", "namespace": "team", "uid": uid},
        "runNumber": run_number,
        "phase": "Running",
        "rows": {"processed": 12},
        "from": "a newer runner",
    }
    return json.dumps(report).encode()


def test_a_report_of_the_run_counts() -> None:
    assert read_report(make_report(), TARGET).rows.processed == 12


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(make_report(uid="uid-2"), PollOutcome.FOREIGN, id="another job"),
        pytest.param(make_report(uid=None), PollOutcome.FOREIGN, id="a job without a UID"),
        pytest.param(make_report(run_number=1), PollOutcome.FOREIGN, id="an earlier run"),
        pytest.param(make_report(version=2), PollOutcome.SKEWED, id="another contract"),
        pytest.param(b"<html>", PollOutcome.UNREADABLE, id="no JSON"),
        pytest.param(b"[" * 60_000, PollOutcome.UNREADABLE, id="JSON without a bottom"),
        pytest.param(b"\xff", PollOutcome.UNREADABLE, id="no text"),
        pytest.param(b"", PollOutcome.UNREADABLE, id="nothing"),
        pytest.param(b'{"job": 3}', PollOutcome.UNREADABLE, id="no report"),
    ],
)
def test_anything_else_does_not(body: bytes, outcome: PollOutcome) -> None:
    with pytest.raises(PollFailed) as failed:
        read_report(body, TARGET)
    assert failed.value.outcome is outcome


@pytest.mark.parametrize(
    ("ip", "url"),
    [
        ("10.0.0.7", "http://10.0.0.7:8080/progress"),
        ("fd00::7", "http://[fd00::7]:8080/progress"),
    ],
)
def test_addresses(ip: str, url: str) -> None:
    assert progress_url(ip) == url


@pytest.mark.parametrize("ip", ["", "metadata.internal", "10.0.0.7/x", "10.0.0.7:80", "1@10.0.0.7"])
def test_only_addresses_are_asked(ip: str) -> None:
    with pytest.raises(PollFailed, match="no IP address"):
        progress_url(ip)


class ScriptedPoller(ProgressPoller):
    """Answers from a list instead of the network; None is no answer."""

    def __init__(self, clock: list[float], answers: list[bytes | None]) -> None:
        self.outcomes: list[PollOutcome] = []
        super().__init__(
            None,  # type: ignore[arg-type]
            clock=lambda: clock[0],
            count_poll=self.outcomes.append,
        )
        self.answers = answers

    async def _fetch(self, ip: str) -> bytes:
        answer = self.answers.pop(0)
        if answer is None:
            raise PollFailed(PollOutcome.UNREACHABLE, ip)
        return answer


def test_silence_is_counted_from_the_first_question_without_an_answer() -> None:
    clock = [100.0]
    poller = ScriptedPoller(clock, [None, None, make_report(uid="x"), make_report(), None])

    async def scenario() -> list[float]:
        silences = []
        for _ in range(5):
            silences.append((await poller(TARGET)).unreachable_seconds)
            clock[0] += 10
        return silences

    assert asyncio.run(scenario()) == [0, 10, 20, 0, 0]
    assert poller.outcomes == [
        PollOutcome.UNREACHABLE,
        PollOutcome.UNREACHABLE,
        PollOutcome.FOREIGN,
        PollOutcome.ANSWERED,
        PollOutcome.UNREACHABLE,
    ]


def test_a_report_of_another_release_is_told_from_one_that_cannot_be_read() -> None:
    poller = ScriptedPoller([100.0], [make_report(version=2), b"<html>", None])

    async def scenario() -> list[bool]:
        return [(await poller(TARGET)).is_skewed for _ in range(3)]

    assert asyncio.run(scenario()) == [True, False, False]


@pytest.mark.parametrize("all_at_once", [True, False])
def test_pods_that_are_gone_are_forgotten(all_at_once: bool) -> None:
    clock = [100.0]
    poller = ScriptedPoller(clock, [None, None])

    async def scenario() -> float:
        await poller(TARGET)
        clock[0] += 10
        if all_at_once:
            poller.forget_all_but(["another"])
        else:
            poller.forget(TARGET.pod_uid)
        return (await poller(TARGET)).unreachable_seconds

    assert asyncio.run(scenario()) == 0
