"""Which shards come next, and what a loss means."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_inference_runner.schedule.backlog import Backlog, Loss, Take


def make_backlog(shards=10, *, backoff_limit=3, suspects=(), kills=None):
    return Backlog.of(range(shards), backoff_limit=backoff_limit, suspects=suspects, kills=kills)


def test_ranges_shrink_with_the_backlog():
    backlog = make_backlog(2000)
    sizes = []
    while backlog.waiting:
        sizes.append(len(backlog.take(assigned=0, threads=2, scorers=4).shards))
    assert sizes[0] == 250
    assert sizes[-1] <= 2
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 2000


def test_a_scorer_with_enough_work_gets_nothing():
    backlog = make_backlog(100)
    assert backlog.take(assigned=60, threads=2, scorers=1) == Take()
    assert backlog.waiting == 100


def test_a_shard_that_was_in_work_when_a_scorer_was_killed_runs_alone_next():
    backlog = make_backlog(5)
    backlog.take(assigned=0, threads=2, scorers=1)
    backlog.lose(1, Loss.KILLED, "killed")
    assert backlog.take(assigned=1, threads=2, scorers=1) == Take()
    assert backlog.take(assigned=0, threads=2, scorers=1) == Take((1,), alone=True)
    assert backlog.charges[1] == 0


def test_a_second_kill_while_alone_counts_and_is_isolated():
    backlog = make_backlog(1)
    backlog.take(assigned=0, threads=1, scorers=1)
    backlog.lose(0, Loss.KILLED, "killed")
    backlog.take(assigned=0, threads=1, scorers=1)
    backlog.lose(0, Loss.KILLED, "killed")
    assert backlog.kills[0] == 1
    assert 0 in backlog.isolated


def test_a_crash_is_charged_at_once_and_isolated():
    backlog = make_backlog(3)
    backlog.take(assigned=0, threads=3, scorers=1)
    backlog.lose(2, Loss.CRASHED, "SIGSEGV")
    assert backlog.charges[2] == 1
    assert backlog.isolated == {2}
    assert backlog.take(assigned=0, threads=3, scorers=1).shards == (2,)


def test_of_shards_that_crash_together_none_is_charged_until_it_crashes_alone():
    backlog = make_backlog(2, backoff_limit=0)
    backlog.take(assigned=0, threads=2, scorers=1)
    for shard in (0, 1):
        backlog.lose(shard, Loss.CRASHED, "crash", beside_others=True)
    assert backlog.isolated == {0, 1}
    assert not backlog.charges

    assert backlog.take(assigned=0, threads=2, scorers=1) == Take((0,), alone=True)
    backlog.lose(0, Loss.CRASHED, "crash")
    assert backlog.failed == {0: "crash"}


def test_an_error_that_was_reported_is_charged_but_not_isolated():
    backlog = make_backlog(1)
    backlog.take(assigned=0, threads=1, scorers=1)
    backlog.lose(0, Loss.FAILED, "ValueError")
    assert backlog.charges[0] == 1
    assert not backlog.isolated


def test_a_shard_is_given_up_when_its_budget_is_spent_and_then_rejected_unread():
    backlog = make_backlog(1, backoff_limit=2)
    for _ in range(3):
        backlog.take(assigned=0, threads=1, scorers=1)
        backlog.lose(0, Loss.FAILED, "bad")
    assert backlog.failed == {0: "bad"}
    assert backlog.take(assigned=0, threads=1, scorers=1).shards == (0,)


def test_kills_are_forgiven_when_anything_is_committed():
    backlog = make_backlog(1, backoff_limit=1)
    for _ in range(20):
        backlog.take(assigned=0, threads=1, scorers=1)
        backlog.lose(0, Loss.KILLED, "killed")
        backlog.progressed()
    assert not backlog.failed


def test_a_shard_that_is_killed_again_and_again_without_a_commit_is_given_up():
    backlog = make_backlog(1, backoff_limit=1)
    for _ in range(3):
        backlog.take(assigned=0, threads=1, scorers=1)
        backlog.lose(0, Loss.KILLED, "killed")
    assert backlog.failed == {0: "killed"}


def test_kills_under_earlier_drivers_count():
    backlog = make_backlog(1, backoff_limit=2, suspects=[0], kills={0: 2})
    backlog.take(assigned=0, threads=1, scorers=1)
    backlog.lose(0, Loss.KILLED, "killed")
    assert backlog.failed == {0: "killed"}


def test_shards_that_were_not_tried_come_back_in_order_and_uncharged():
    backlog = make_backlog(4)
    taken = backlog.take(assigned=0, threads=4, scorers=1).shards
    backlog.give_back(reversed(taken))
    assert backlog.pending == deque([0, 1, 2, 3])
    assert not backlog.charges


def test_a_shard_that_runs_short_of_memory_has_all_of_it_next_and_is_not_charged():
    backlog = make_backlog(5, backoff_limit=0)
    backlog.take(assigned=0, threads=2, scorers=1)
    backlog.lose(1, Loss.OUT_OF_MEMORY, "malloc failed")
    assert backlog.take(assigned=1, threads=2, scorers=1) == Take()
    assert backlog.wants_fresh_scorer
    assert backlog.take(assigned=0, threads=2, scorers=1, is_fresh=False) == Take()
    wanted = Take((1,), alone=True, frugal=True)
    assert backlog.take(assigned=0, threads=2, scorers=1, is_fresh=True) == wanted
    assert not backlog.wants_fresh_scorer
    assert not backlog.charges
    assert not backlog.isolated


def test_a_suspect_that_its_own_threads_make_short_of_memory_is_not_charged_either():
    backlog = make_backlog(1, backoff_limit=0, suspects=[0])
    assert backlog.take(assigned=0, threads=2, scorers=1) == Take((0,), alone=True)
    backlog.lose(0, Loss.OUT_OF_MEMORY, "malloc failed")
    assert not backlog.failed
    assert backlog.take(assigned=0, threads=2, scorers=1, is_fresh=True).frugal


def test_a_shard_for_which_all_of_the_memory_does_not_suffice_is_charged():
    backlog = make_backlog(1, backoff_limit=1)
    for _ in range(3):
        backlog.take(assigned=0, threads=2, scorers=1, is_fresh=True)
        backlog.lose(0, Loss.OUT_OF_MEMORY, "malloc failed")
    assert backlog.failed == {0: "malloc failed"}


def test_a_suspect_that_a_store_kept_from_running_is_like_any_other():
    """Alone, it would leave a record of that for each time that the store fails."""
    backlog = make_backlog(2, backoff_limit=0, suspects=[1])
    assert backlog.take(assigned=0, threads=1, scorers=1) == Take((1,), alone=True)

    backlog.give_back([1])

    assert backlog.take(assigned=0, threads=2, scorers=1) == Take((1, 0))
    assert not backlog.lose(1, Loss.KILLED, "killed beside another")


def test_a_shard_that_isolation_does_not_help_runs_alone():
    """As one whose decoder loops: beside others it would take them along each time."""
    backlog = make_backlog(2, backoff_limit=3)
    for shard in backlog.take(assigned=0, threads=2, scorers=1).shards:
        backlog.lose(shard, Loss.CRASHED, "stalled", beside_others=True)
    backlog.take(assigned=0, threads=2, scorers=1)
    assert backlog.lose(0, Loss.CRASHED, "stalled")

    backlog.take(assigned=0, threads=2, scorers=1)
    assert backlog.take(assigned=0, threads=2, scorers=1) == Take((0,), alone=True)


def test_a_lost_isolator_is_charged_to_a_shard_that_was_alone():
    """It may be unable to do its work at all, and others commit meanwhile."""
    backlog = make_backlog(1, backoff_limit=1)
    assert not backlog.lose(0, Loss.ISOLATOR_LOST, "lost")
    for _ in range(2):
        backlog.take(assigned=0, threads=2, scorers=1)
        assert backlog.lose(0, Loss.ISOLATOR_LOST, "lost")
        backlog.progressed()
    assert backlog.failed == {0: "lost"}


losses = st.sampled_from([*Loss, None])


@given(
    shards=st.integers(1, 40),
    fates=st.lists(losses, max_size=200),
    threads=st.integers(1, 4),
    scorers=st.integers(1, 4),
)
def test_every_shard_ends_exactly_once_whatever_is_lost(shards, fates, threads, scorers):
    backlog, done, fate = make_backlog(shards, backoff_limit=2), [], iter(fates)
    while backlog.waiting:
        fresh = backlog.wants_fresh_scorer
        take = backlog.take(assigned=0, threads=threads, scorers=scorers, is_fresh=fresh)
        assert take.shards, "an idle scorer must get something while there is something"
        for shard in take.shards:
            loss = None if shard in backlog.failed else next(fate, None)
            done.append(shard) if loss is None else backlog.lose(shard, loss, "lost")
    assert sorted(done) == list(range(shards))


@pytest.mark.parametrize("count", [1, 2, 256, 257, 5000])
def test_no_range_is_larger_than_the_largest(count):
    assert len(make_backlog(count).take(assigned=0, threads=1, scorers=1).shards) <= 256
