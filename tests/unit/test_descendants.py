"""What is left below a process is killed, and not waited for without end."""

from __future__ import annotations

import signal

import pytest

from batch_inference_runner import descendants

STUCK = 4242


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(descendants, "time", clock)
    return clock


def test_a_process_that_outlives_a_kill_is_left_and_named(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    sent: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(descendants, "_descendants", lambda _pid: [STUCK])
    monkeypatch.setattr(descendants, "_reap", lambda: True)
    monkeypatch.setattr(descendants, "_kill", lambda pid, number: sent.append((pid, number)))
    assert descendants.end_descendants(grace_seconds=1, term=True) == [STUCK]
    assert clock.now == pytest.approx(6, abs=0.1)
    assert sent[:2] == [(STUCK, signal.SIGTERM), (STUCK, signal.SIGKILL)]


def test_nothing_is_waited_for_when_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(descendants, "_descendants", lambda _pid: [])
    monkeypatch.setattr(descendants, "_reap", lambda: False)
    assert descendants.end_descendants(grace_seconds=1, term=True) == []
    assert clock.now == 0
