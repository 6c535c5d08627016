"""Heartbeats: what they say, and how long a child may be silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_inference_runner.supervise.heartbeat import Beat
from batch_inference_runner.supervise.silence import Silence

counts = st.integers(min_value=0, max_value=10**15)
beats = st.builds(Beat, counts, counts, counts)


@given(beats)
def test_a_beat_arrives_as_it_was_sent(beat):
    assert Beat().with_next(beat.encode()) == beat


@given(st.lists(beats))
def test_nothing_goes_back(told):
    heard = Beat()
    for beat in told:
        after = heard.with_next(beat.encode())
        assert all(new >= old for new, old in zip(after, heard, strict=True))
        heard = after


@pytest.mark.parametrize("line", [b"", b"1 2", b"1 2 3 4", b"1 two 3", b"1 -2 3", b"\xff"])
def test_a_line_that_is_not_whole_says_nothing(line):
    assert Beat(1, 2, 3).with_next(line) == Beat(1, 2, 3)


def silence() -> Silence:
    return Silence(0.0, first_beat_ticks=5, beat_ticks=2)


def test_a_child_that_never_spoke_may_take_its_time():
    child = silence()
    for second in range(1, 5):
        child.go_on(float(second))
        assert not child.is_too_long
    child.go_on(5.0)
    assert child.is_too_long


def test_a_child_that_spoke_once_must_go_on():
    child = silence()
    child.go_on(1.0)
    child.end()
    for at in (2.0, 3.0):
        assert not child.is_too_long
        child.go_on(at)
    assert child.is_too_long


def test_looking_often_is_not_silence():
    child = silence()
    for step in range(99):
        child.go_on(step / 100)
    assert child.ticks == 0


def test_a_pod_that_stood_still_does_not_blame_its_child():
    child = silence()
    child.end()
    child.go_on(3600.0)
    assert not child.is_too_long
