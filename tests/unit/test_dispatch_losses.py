"""The loop of a run, where scorers lose shards: what is tried again, and how."""

from __future__ import annotations

import pytest

from batch_inference_runner.schedule import dispatch as dispatching
from batch_inference_runner.schedule import slot as slots
from batch_inference_runner.score.messages import FailureKind
from testkit.dispatch_runs import Clock, FakeScorer, Run, fail_with


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(dispatching, "time", clock)
    monkeypatch.setattr(slots, "time", clock)
    monkeypatch.setattr(dispatching, "_TICK_SECONDS", 0.001)
    return clock


def test_shards_that_run_short_of_memory_are_tried_again_alone_and_frugally():
    run = Run(shards=4, backoff_limit_per_shard=0)
    tried = []

    def on_score(scorer, assignment):
        tried.append((assignment.shard.number, assignment.frugal))
        short = assignment.shard.number in (1, 2) and not assignment.frugal
        (fail_with(FailureKind.MEMORY) if short else FakeScorer.finish)(scorer, assignment)

    scorers = [FakeScorer(on_score=on_score) for _ in range(3)]
    run.add(*scorers, threads=4)

    assert run.go() == [0, 1, 2, 3]
    assert [shard for shard, frugal in tried if frugal] == [1, 2]
    assert [scorer.shards for scorer in scorers[1:]] == [[1], [2]]
    alone = [shards for shards, alone in run.attempts.recorded if alone]
    assert alone == [(1,), (2,)]
    assert not run.dispatch.failed_shards


def test_one_of_several_scorers_is_renewed_for_a_shard_that_ran_short_of_memory():
    run = Run(shards=4, backoff_limit_per_shard=0)

    def on_score(scorer, assignment):
        short = assignment.shard.number == 1 and not assignment.frugal
        (fail_with(FailureKind.MEMORY) if short else FakeScorer.finish)(scorer, assignment)

    first, second, third = (FakeScorer(on_score=on_score) for _ in range(3))
    run.add(first, third, threads=2)
    run.add(second, threads=2)

    assert run.go() == [0, 1, 2, 3]
    assert third.shards == [1]


def test_a_shard_whose_isolator_is_lost_is_not_charged_but_tried_alone():
    run = Run(shards=2, backoff_limit_per_shard=0)
    tried = []

    def on_score(scorer, assignment):
        tried.append(assignment.shard.number)
        lost = tried == [0]
        (fail_with(FailureKind.LOST) if lost else FakeScorer.finish)(scorer, assignment)

    run.add(FakeScorer(on_score=on_score), threads=2)

    assert run.go() == [0, 1]
    assert run.attempts.recorded[-1] == ((0,), True)
    assert not run.dispatch.failed_shards
