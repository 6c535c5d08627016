"""Decisions played out against a model of a cluster: whatever happens, a job comes to an end.

The operator may die before and after each of its writes, and may wake with a plan of long ago.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_inference_api.v1alpha1.status import JobStatus
from testkit.job_controller_model import SHARDS, ClusterModel, Crashed
from testkit.observations import condition
from testkit.status_rules import STATE_CONDITIONS, check_step

_STEP = st.tuples(st.integers(0, 10**6), st.integers(0, 3))
STEPS = st.lists(_STEP, max_size=40)
"""Which move comes next, and how many writes the operator lives to do after it."""


def take(model: ClusterModel, choice: int) -> None:
    moves = model.moves()
    model.take(moves[choice % len(moves)])


def reconcile_and_die(model: ClusterModel, writes: int) -> None:
    """Let the operator do so many writes at most."""
    done = itertools.count()

    def before_write() -> None:
        if next(done) == writes:
            raise Crashed

    try:
        model.reconcile(before_write)
    except Crashed:
        model.history.append(f"operator: dies after {writes} writes")


def heal(model: ClusterModel) -> None:
    """From here on nothing new goes wrong; what is lost stays lost."""
    model.is_reachable = True


def reason_of_end(status: JobStatus) -> str:
    ended = {"Complete", "Failed", "Suspended"}
    return next(
        found.reason
        for found in status.conditions
        if found.type in ended and found.status == "True"
    )


def check_numbers(before: JobStatus, created: list[int]) -> None:
    """A run that was ever told of is not followed by another of its number."""
    known = before.run.number if before.run else 0
    assert all(number > known for number in created)


def check_end(model: ClusterModel) -> None:
    """What is said of the end is so."""
    reason = reason_of_end(model.status)
    if reason == "Succeeded":
        assert model.has_result
        assert model.status.completion_stats.successful_count == SHARDS
    elif reason == "SchemaMismatch":
        assert model.is_doomed
    else:
        assert reason in {"BackoffLimitExceeded", "ReportMissing", "Suspended"}


def check_that_nothing_is_left_alive(model: ClusterModel) -> None:
    for _ in range(40):
        model.reconcile()
        model.let_controllers_work()
        model.let_pods_work()
        model.wait(5)
    assert model.is_cleared()


@settings(max_examples=300)
@given(STEPS)
def test_whatever_happens_a_job_ends_and_never_has_two_leaders(steps: list[tuple[int, int]]):
    model = ClusterModel()
    for choice, writes in steps:
        before, created = model.status, len(model.created)
        take(model, choice)
        reconcile_and_die(model, writes)
        check_step(before, model.status)
        check_numbers(before, model.created[created:])
        assert len(model.living_heads()) <= 1, model.history
    heal(model)

    model.come_to_rest()

    check_end(model)
    check_that_nothing_is_left_alive(model)


@settings(max_examples=150)
@given(STEPS, STEPS)
def test_a_leader_that_wakes_with_an_old_plan_does_no_lasting_harm(
    before: list[tuple[int, int]], meanwhile: list[tuple[int, int]]
):
    """Its status is refused, because the job has changed; what it creates or deletes is not."""
    model = ClusterModel()
    for choice, writes in before:
        take(model, choice)
        reconcile_and_die(model, writes)
    plan = model.plan()
    for choice, _ in meanwhile:
        take(model, choice)
        model.reconcile()
    status = model.status
    for action in plan.actions:
        model.carry_out(action)
    heal(model)

    model.come_to_rest()

    check_step(status, model.status)
    check_end(model)
    check_that_nothing_is_left_alive(model)


@dataclass(frozen=True)
class Scenario:
    """What happens to a job, by the number of the step in which it happens."""

    begin: Callable[[ClusterModel], None] = lambda _model: None
    events: tuple[tuple[int, Callable[[ClusterModel], None]], ...] = ()
    ends: str = "Succeeded"
    runs: int = 1
    """How many runs it takes."""


def change(**changes: object) -> Callable[[ClusterModel], None]:
    def edit(model: ClusterModel) -> None:
        named = {f"spec.{name.replace('_', '.')}": value for name, value in changes.items()}
        model.changes = model.changes | named

    return edit


def lose_head(model: ClusterModel) -> None:
    (move,) = [move for move in model.moves() if move.name.endswith("-0-0 loses its node")]
    model.take(move)


def kill_head(model: ClusterModel) -> None:
    (move,) = [move for move in model.moves() if move.name.endswith("-0-0 runs out of memory")]
    model.take(move)


def run_out_of_memory_beside_a_sidecar(model: ClusterModel) -> None:
    """A driver that always does, where no pod ends by itself."""
    model.has_sidecars = True
    model.get_on = lambda head: model.end(head, 137, word="OOMKilled")


def set_flag(name: str, *, value: bool = True) -> Callable[[ClusterModel], None]:
    return lambda model: setattr(model, name, value)


def without_nodes(limit: str) -> Callable[[ClusterModel], None]:
    def begin(model: ClusterModel) -> None:
        model.has_nodes = False
        change(**{limit: 60})(model)

    return begin


def leave_no_report(model: ClusterModel) -> None:
    """A driver that ends as if all were done, and says nothing."""
    model.get_on = lambda head: model.end(head, 0)


def hang(model: ClusterModel) -> None:
    """A model that hangs at the first row: the driver answers, and nothing gets on."""
    model.get_on = lambda _head: None


def hang_with_a_limit(model: ClusterModel) -> None:
    hang(model)
    change(progressDeadlineSeconds=60)(model)


SCENARIOS = {
    "it succeeds": Scenario(),
    "it succeeds with two workers": Scenario(begin=change(workers_replicas=2)),
    "it cannot succeed": Scenario(begin=set_flag("is_doomed"), ends="SchemaMismatch"),
    "its reports are lost": Scenario(begin=leave_no_report, ends="ReportMissing", runs=4),
    "no pod ever starts": Scenario(
        begin=without_nodes("preRunningDeadlineSeconds"), ends="PreRunningDeadlineExceeded"
    ),
    "it takes too long": Scenario(
        begin=without_nodes("activeDeadlineSeconds"), ends="DeadlineExceeded"
    ),
    "it hangs": Scenario(begin=hang_with_a_limit, ends="ProgressDeadlineExceeded"),
    "its first pod is lost": Scenario(events=((3, lose_head),), runs=2),
    "it succeeds beside a sidecar": Scenario(begin=set_flag("has_sidecars")),
    "its first pod is killed once beside a sidecar": Scenario(
        begin=set_flag("has_sidecars"), events=((3, kill_head),), runs=2
    ),
    "its first pod is killed each time beside a sidecar": Scenario(
        begin=run_out_of_memory_beside_a_sidecar, ends="ReportMissing", runs=4
    ),
    "it is suspended": Scenario(events=((3, change(suspend=True)),), ends="Suspended"),
    "it is suspended and resumed": Scenario(
        events=((3, change(suspend=True)), (12, change(suspend=False))), runs=2
    ),
    "it is scaled up": Scenario(events=((3, change(workers_replicas=2)),)),
    "it is scaled down": Scenario(
        begin=change(workers_replicas=2), events=((3, change(workers_replicas=1)),)
    ),
    "it uses what is not allowed": Scenario(
        begin=change(workers_image="evil"), ends="NotAllowed", runs=0
    ),
}
_STEPS = 40
_STEP_SECONDS = 10


def play(scenario: Scenario, *, die_at: int | None = None) -> tuple[ClusterModel, int]:
    """Play a scenario to its end; the operator dies right before its write number `die_at`."""
    model = ClusterModel()
    scenario.begin(model)
    events = dict(scenario.events)
    writes = itertools.count()

    def before_write() -> None:
        if next(writes) == die_at:
            raise Crashed

    for step in range(_STEPS):
        if step in events:
            events[step](model)
        try:
            model.reconcile(before_write)
        except Crashed:
            model.history.append("operator: dies")
        model.let_controllers_work()
        model.let_pods_work()
        assert len(model.living_heads()) <= 1, model.history
        model.wait(_STEP_SECONDS)
        if step > max(events, default=0) and model.is_at_rest() and model.is_cleared():
            break
    return model, next(writes)


def outcome(model: ClusterModel) -> object:
    """The final state, without what depends on when the operator looked."""
    run = model.status.run
    conditions = [
        (found.type, found.status, found.reason, found.message)
        for found in model.status.conditions
        if found.type in STATE_CONDITIONS
    ]
    return (
        conditions,
        model.status.phase,
        (run.number, run.job_name, run.unreported) if run else None,
        sorted(model.jobs),
        model.created,
        model.is_cleared(),
    )


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_job_ends_as_it_should_when(scenario: Scenario):
    model, _ = play(scenario)

    assert model.is_at_rest(), model.history
    assert reason_of_end(model.status) == scenario.ends
    assert len(model.created) == scenario.runs
    assert model.is_cleared()
    if scenario.ends == "Succeeded":
        assert condition(model.status, "Complete").message == f"{SHARDS} rows written"


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_an_operator_that_dies_before_or_after_any_write_changes_nothing_in_the_end_when(
    scenario: Scenario,
):
    """The moment before a write is the one after the write before it."""
    undisturbed, writes = play(scenario)

    for die_at in range(writes):
        model, _ = play(scenario, die_at=die_at)
        assert outcome(model) == outcome(undisturbed), (die_at, model.history)
