"""What the end of a child means for its pod."""

from __future__ import annotations

import signal

import pytest

from batch_inference_runner.supervise.decision import MAX_RESTARTS, Leave, Restart, decide

TERM, KILL, SEGV = signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV


@pytest.mark.parametrize(
    ("status", "is_driver", "restarts", "stopping", "step"),
    [
        pytest.param(0, True, 0, None, Leave(0), id="a driver that succeeded ends its pod"),
        pytest.param(64, True, 0, None, Leave(64), id="the first permanent code is a verdict"),
        pytest.param(70, True, 5, None, Leave(70), id="a verdict counts after any restarts"),
        pytest.param(79, True, 0, None, Leave(79), id="the last permanent code is a verdict"),
        pytest.param(63, True, 0, None, Restart(0.25), id="below them is no verdict"),
        pytest.param(80, True, 0, None, Restart(0.25), id="above them is no verdict"),
        pytest.param(1, True, 1, None, Restart(0.5), id="a retryable end is tried again"),
        pytest.param(-KILL, True, 2, None, Restart(1.0), id="so is a kill, after a longer pause"),
        pytest.param(-SEGV, True, 4, None, Restart(4.0), id="so is a crash, five times"),
        pytest.param(143, True, 0, None, Restart(0.25), id="so is a SIGTERM that was not ours"),
        pytest.param(1, True, 5, None, Leave(1, gave_up=True), id="the sixth start was the last"),
        pytest.param(143, True, 0, TERM, Leave(143), id="told to stop, stopped"),
        pytest.param(-KILL, True, 9, TERM, Leave(143), id="told to stop, had to be killed"),
        pytest.param(130, True, 0, signal.SIGINT, Leave(130), id="stopped by Ctrl-C"),
        pytest.param(0, True, 0, TERM, Leave(0), id="told to stop, but it was done"),
        pytest.param(65, True, 0, TERM, Leave(65), id="told to stop, but it had its verdict"),
        pytest.param(0, False, 0, None, Restart(0.25), id="a worker's 0 is no success"),
        pytest.param(65, False, 0, None, Restart(0.25), id="a worker's 65 is no verdict"),
        pytest.param(1, False, 99, None, Restart(15.0), id="a worker is restarted for ever"),
        pytest.param(1, False, 1026, None, Restart(15.0), id="2**1026 would be too large a float"),
        pytest.param(0, False, 0, TERM, Leave(143), id="a worker told to stop never ends with 0"),
        pytest.param(65, False, 0, TERM, Leave(143), id="nor with 65"),
    ],
)
def test_what_follows_from_an_end(status, is_driver, restarts, stopping, step):
    assert decide(status, is_driver=is_driver, restarts=restarts, stopping=stopping) == step


def test_a_driver_that_commits_nothing_is_given_up_within_seconds():
    steps = [decide(1, is_driver=True, restarts=n, stopping=None) for n in range(MAX_RESTARTS + 1)]
    assert [type(step) for step in steps] == [Restart] * MAX_RESTARTS + [Leave]
    assert sum(step.delay_seconds for step in steps[:-1]) < 10
