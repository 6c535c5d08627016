"""The loop of a run: what it hands out, what it does when scorers or stores fail, how it ends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import Interrupted, InvalidJob, JobFailed, Unavailable
from batch_inference_runner.schedule.deadline import Deadline
from batch_inference_runner.schedule.outage import MOST_FAILURES
from batch_inference_runner.score.messages import (
    Beat,
    FailureKind,
    FirstRow,
    Ready,
    Refused,
    Staged,
    Unreachable,
    Withdraw,
    Withdrawn,
)
from testkit.dispatch_runs import (
    KILL,
    SEGV,
    FakeScorer,
    Run,
    end_with,
    fail_with,
    staged_of,
    start_clock,
)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return start_clock(monkeypatch)


def test_every_shard_is_scored_and_committed_once():
    run = Run(shards=50)
    one, other = FakeScorer(), FakeScorer()
    run.add(one), run.add(other)
    assert run.go() == list(range(50))
    assert sorted(one.shards + other.shards) == list(range(50))
    assert one.shards
    assert other.shards


def test_what_is_handed_out_was_recorded_before():
    run = Run(shards=5)

    def on_score(scorer, assignment):
        assert any(assignment.shard.number in shards for shards, _ in run.attempts.recorded)
        scorer.finish(assignment)

    run.add(FakeScorer(on_score=on_score))
    run.go()


def test_a_store_that_fails_once_is_given_time():
    run = Run(shards=3)
    failed = []

    def on_score(scorer, assignment):
        if failed:
            scorer.finish(assignment)
        else:
            failed.append(assignment)
            fail_with(FailureKind.STORE)(scorer, assignment)

    run.add(FakeScorer(on_score=on_score))
    assert run.go() == [0, 1, 2]
    assert not run.dispatch.failed_shards


def test_a_store_that_keeps_failing_ends_the_run_for_now(clock):
    run = Run(shards=3)
    began = clock.now
    run.add(FakeScorer(on_score=fail_with(FailureKind.STORE)))
    with pytest.raises(Unavailable, match="it failed"):
        run.go()
    assert clock.now - began > 60


def test_a_scorer_that_cannot_reach_a_store_tries_again():
    run = Run(shards=2)
    answers = iter([Unreachable("no route"), Ready("sha256:0", "CPU", 8)])
    run.add(FakeScorer(on_open=lambda scorer: scorer.say(next(answers))))
    assert run.go() == [0, 1]


def test_a_store_that_is_never_reached_ends_the_run_for_now():
    """A refusal answers at once: the scorer is asked again after each pause, and not during it."""
    asked = []

    def refuse(scorer):
        asked.append(scorer)
        scorer.say(Unreachable("no route"))

    run = Run()
    run.add(FakeScorer(on_open=refuse))
    with pytest.raises(Unavailable, match="no route"):
        run.go()
    assert len(asked) == MOST_FAILURES + 1


def test_a_commit_that_fails_ends_the_run():
    run = Run()
    run.output.error = OSError("the store has gone")
    run.add(FakeScorer())
    with pytest.raises(OSError, match="has gone"):
        run.go()


@pytest.mark.parametrize(("invalid", "kind"), [(True, InvalidJob), (False, JobFailed)])
def test_what_a_scorer_refuses_is_the_jobs_failure(invalid, kind):
    run = Run()
    refused = Refused(Reason.MODEL_UNSUPPORTED, "no such operator", invalid)
    run.add(FakeScorer(on_open=lambda scorer: scorer.say(refused)))
    with pytest.raises(kind) as caught:
        run.go()
    assert type(caught.value) is kind
    assert caught.value.reason == Reason.MODEL_UNSUPPORTED


def test_a_failure_of_the_job_is_not_tried_again():
    run = Run()
    scorer = FakeScorer(on_score=fail_with(FailureKind.JOB, Reason.INPUT_CHANGED))
    run.add(scorer)
    with pytest.raises(JobFailed) as caught:
        run.go()
    assert caught.value.reason == Reason.INPUT_CHANGED


def test_a_killed_scorer_is_replaced_and_its_shard_runs_alone():
    run = Run(shards=4)
    run.add(FakeScorer(on_score=end_with(KILL)), FakeScorer())
    assert run.go() == [0, 1, 2, 3]
    assert ((0,), True) in run.attempts.recorded
    assert not run.dispatch.failed_shards


def test_a_crash_is_charged_and_the_shard_is_isolated():
    run = Run(shards=2)
    seen = []

    def on_score(scorer, assignment):
        seen.append((assignment.shard.number, assignment.isolated))
        scorer.finish(assignment)

    run.add(FakeScorer(on_score=end_with(SEGV)), FakeScorer(on_score=on_score))
    assert run.go() == [0, 1]
    assert (0, True) in seen
    assert (1, False) in seen


def test_scorers_that_crash_while_they_load_the_model_fail_the_job():
    run = Run()
    run.add(*(FakeScorer(on_open=lambda scorer: scorer.exit(SEGV)) for _ in range(4)))
    with pytest.raises(JobFailed) as caught:
        run.go()
    assert caught.value.reason == Reason.MODEL_UNSUPPORTED


def test_scorers_that_are_killed_again_and_again_before_they_are_ready_lack_memory():
    run = Run()
    run.add(*(FakeScorer(on_open=lambda scorer: scorer.exit(KILL)) for _ in range(10)))
    with pytest.raises(JobFailed, match=r"limits\.memory") as caught:
        run.go()
    assert caught.value.reason == Reason.OUT_OF_MEMORY


def test_scorers_that_are_killed_while_they_load_the_model_may_try_more_often():
    run = Run(shards=1)
    killed = [FakeScorer(on_open=lambda scorer: scorer.exit(KILL)) for _ in range(8)]
    run.add(*killed, FakeScorer())
    assert run.go() == [0]


def test_a_run_that_is_asked_to_stop_stops():
    run = Run()
    run.add(FakeScorer(on_score=lambda *_: run.stop.set()))
    with pytest.raises(Interrupted):
        run.go()


def test_a_run_may_not_take_longer_than_its_deadline(clock):
    run = Run(active_deadline_seconds=5)
    run.add(FakeScorer(on_score=lambda *_: None))
    with pytest.raises(JobFailed) as caught:
        run.go(deadline=Deadline.after(5, began=clock.now))
    assert caught.value.reason == Reason.DEADLINE_EXCEEDED


def test_a_scorer_without_a_sign_of_life_is_killed_and_its_shard_charged():
    run = Run(shards=2)
    silent = FakeScorer(on_score=lambda scorer, assignment: scorer.begin(assignment), beats=False)
    run.add(silent, FakeScorer())
    assert run.go() == [0, 1]
    assert silent.kills == 1


def test_a_scorer_that_says_it_is_stuck_is_killed_once():
    run = Run(shards=1)

    def on_score(scorer, assignment):
        scorer.begin(assignment)
        for _ in range(3):
            scorer.say(Beat({0: 1}, (0,), 0.1))

    stuck = FakeScorer(on_score=on_score)
    run.add(stuck, FakeScorer())
    assert run.go() == [0]
    assert stuck.kills == 1


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_gpu_is_held_from_the_scorers_begin_to_its_last_sign_of_life(clock, has_gpu):
    run = Run(shards=1)

    def on_score(scorer, assignment):
        clock.now += 600
        scorer.say(Beat({}, (), 1.0))
        scorer.finish(assignment)

    run.add(FakeScorer(on_score=on_score), has_gpu=has_gpu)
    run.go()
    held = run.progress.report().gpu_seconds
    assert held is None if not has_gpu else 600 <= held < 660


def test_a_lost_nodes_shards_come_back():
    run = Run(shards=8)
    lost = FakeScorer(on_score=lambda scorer, assignment: scorer.begin(assignment))
    slot = run.add(lost)
    run.events.put("the node is lost")
    finisher = FakeScorer()

    def on_other(event):
        assert event == "the node is lost"
        run.dispatch._dispatch()  # whatever the node was doing
        run.dispatch.remove(slot)
        run.add(finisher)

    assert run.go(on_other=on_other) == list(range(8))
    assert set(finisher.shards) == set(range(8))


def test_late_words_of_a_lost_node_are_ignored():
    run = Run(shards=2)
    kept = []
    lost = FakeScorer(on_score=lambda _, assignment: kept.append(assignment))
    slot = run.add(lost)
    run.events.put("lost")

    def on_other(_event):
        run.dispatch._dispatch()
        run.dispatch.remove(slot)
        for assignment in kept:
            lost.finish(assignment)
        lost.exit(KILL)
        run.add(FakeScorer())

    assert run.go(on_other=on_other) == [0, 1]
    assert slot.generation == 1


def test_late_words_of_an_earlier_scorer_are_ignored():
    run = Run(shards=3)
    kept = []

    def on_score(scorer, assignment):
        kept.append(assignment)
        scorer.begin(assignment)
        scorer.exit(KILL)

    first = FakeScorer(on_score=on_score)

    def after(scorer, assignment):
        for old in kept:
            first.say(Staged(staged_of(old)))
            first.say(Withdrawn((old.shard.number,)))
        kept.clear()
        scorer.finish(assignment)

    run.add(first, FakeScorer(on_score=after))
    assert run.go() == [0, 1, 2]


def test_idle_scorers_take_what_the_busiest_has_not_begun():
    run = Run(shards=12)
    waiting = []

    class Slow(FakeScorer):
        finished = False

        def send(self, message) -> None:
            super().send(message)
            if isinstance(message, Withdraw):
                taken = [waiting.pop() for _ in range(min(message.most, len(waiting)))]
                self.say(Withdrawn(tuple(each.shard.number for each in taken)))
                if not waiting and not self.finished:
                    self.finished = True
                    self.say(Staged(staged_of(begun[0])))

    begun = []

    def on_score(scorer, assignment):
        if scorer.finished:
            scorer.finish(assignment)
        elif begun:
            waiting.append(assignment)
        else:
            begun.append(assignment)
            scorer.begin(assignment)

    slow, fast = Slow(on_score=on_score), FakeScorer()
    run.add(slow, threads=6)
    run.add(fast, threads=6)
    assert run.go() == list(range(12))
    assert any(isinstance(message, Withdraw) for message in slow.received)
    moved = set(slow.shards) & set(fast.shards)
    assert moved


def test_a_scorer_that_does_not_answer_does_not_keep_others_from_giving_back():
    run = Run(shards=12)
    silent = FakeScorer(on_score=lambda *_: None, beats=False)
    waiting, asked_before_the_kill = [], []

    class Slow(FakeScorer):
        def send(self, message) -> None:
            super().send(message)
            if isinstance(message, Withdraw):
                asked_before_the_kill.append(silent.kills == 0)
                self.say(Withdrawn(tuple(waiting)))
                waiting.clear()

    slow = Slow(on_score=lambda _, assignment: waiting.append(assignment.shard.number))
    run.add(silent, FakeScorer(), threads=6)
    run.add(slow, threads=3)
    run.add(FakeScorer(), threads=3)
    assert run.go() == list(range(12))
    assert asked_before_the_kill[0]


def test_rows_that_were_rejected_are_judged_at_the_end():
    run = Run(shards=2)
    policy = run.config.error_policy.model_copy(update={"max_error_rate": "0.1"})
    run.dispatch._config = run.config.model_copy(update={"error_policy": policy})

    def on_score(scorer, assignment):
        scorer.begin(assignment)
        scorer.say(Staged(staged_of(assignment, rejected=1)))

    run.add(FakeScorer(on_score=on_score))
    with pytest.raises(JobFailed) as caught:
        run.go()
    assert caught.value.reason == Reason.ERROR_THRESHOLD_EXCEEDED
    assert sorted(run.output.marked) == [0, 1]


def test_the_first_row_is_the_earliest_of_all_scorers():
    run = Run(shards=1)

    def on_score(scorer, assignment):
        scorer.say(FirstRow(7.0))
        scorer.say(FirstRow(5.0))
        scorer.finish(assignment)

    run.add(FakeScorer(on_score=on_score))
    run.go()
    assert run.dispatch.first_row_at == 5.0


def test_what_is_neither_of_slots_nor_commits_is_passed_on():
    run = Run(shards=1)
    other = SimpleNamespace()
    run.events.put(other)
    seen = []
    run.add(FakeScorer())
    run.go(on_other=seen.append)
    assert seen == [other]
