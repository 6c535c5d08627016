"""The loop of a run: shards that fail for good, and how many of a job may."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.score.messages import FailureKind
from testkit.dispatch_runs import KILL, FakeScorer, Run, end_with, fail_with, start_clock


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return start_clock(monkeypatch)


def fail_shard(failing):
    """Fail one shard each time, until its rows are to be rejected unread."""

    def on_score(scorer, assignment):
        if assignment.shard.number == failing and assignment.given_up is None:
            return fail_with(FailureKind.SHARD)(scorer, assignment)
        return scorer.finish(assignment)

    return on_score


def test_a_shard_that_keeps_failing_fails_the_job():
    run = Run(shards=2, backoff_limit_per_shard=2)
    scorer = FakeScorer(on_score=fail_with(FailureKind.SHARD))
    run.add(scorer)
    with pytest.raises(JobFailed) as caught:
        run.go()
    assert caught.value.reason == Reason.MAX_FAILED_SHARDS_EXCEEDED
    assert scorer.shards.count(0) == 3


def test_the_attempts_that_earlier_drivers_lost_are_told_as_well():
    run = Run(shards=1, backoff_limit_per_shard=2, lost_before=2)
    run.add(FakeScorer(on_score=end_with(KILL)), FakeScorer())
    with pytest.raises(JobFailed, match="Shard 0 failed at attempt 3, the last that"):
        run.go()


def test_a_shard_that_keeps_running_short_of_memory_names_the_limit():
    run = Run(shards=2, backoff_limit_per_shard=1)
    run.add(*(FakeScorer(on_score=fail_with(FailureKind.MEMORY)) for _ in range(9)))
    with pytest.raises(
        JobFailed, match=r"limits\.memory, or lower spec\.batching\.batchSize"
    ) as it:
        run.go()
    assert it.value.reason == Reason.OUT_OF_MEMORY


def test_a_failed_shard_that_is_allowed_is_rejected_unread():
    run = Run(shards=3, backoff_limit_per_shard=1, max_failed_shards=1)
    given_up = []

    def on_score(scorer, assignment):
        if assignment.given_up is not None:
            given_up.append(assignment.shard.number)
        if assignment.shard.number == 1 and assignment.given_up is None:
            return fail_with(FailureKind.SHARD)(scorer, assignment)
        return scorer.finish(assignment)

    run.add(FakeScorer(on_score=on_score))
    assert run.go() == [0, 1, 2]
    assert given_up == [1]
    assert set(run.dispatch.failed_shards) == {1}


def test_shards_that_an_earlier_driver_gave_up_count_too():
    run = Run(
        shards=4, backoff_limit_per_shard=0, max_failed_shards=1, given_up={1: "it failed before"}
    )
    run.add(FakeScorer(on_score=fail_shard(2)))
    with pytest.raises(JobFailed, match=r"failed shards: 2, .* Shard 2 failed") as caught:
        run.go()
    assert caught.value.reason == Reason.MAX_FAILED_SHARDS_EXCEEDED


def test_shards_that_an_earlier_driver_gave_up_are_named_in_the_end():
    run = Run(
        shards=4, backoff_limit_per_shard=0, max_failed_shards=2, given_up={1: "it failed before"}
    )
    run.add(FakeScorer(on_score=fail_shard(2)))
    assert run.go() == [0, 2, 3]
    assert run.dispatch.failed_shards == {1: "it failed before", 2: "it failed"}
