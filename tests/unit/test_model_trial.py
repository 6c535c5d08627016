"""Rows that cannot tell whether a model mixes rows do not vouch for those that come later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models import probing
from batch_inference_runner.models.feeds import Dense, Feeds
from batch_inference_runner.models.onnx import InferenceFailed
from batch_inference_runner.models.tolerance import FLOAT32
from batch_inference_runner.models.trial import Trial
from testkit import onnx_models
from testkit.scorers import make_scorer

SCHEMA = pa.schema([("x", pa.float32())])


def table_of(*values: float) -> pa.Table:
    return pa.table({"x": pa.array(values, pa.float32())})


ALIKE = table_of(*[7.0] * 10_000)
MIXED = table_of(*[7.0] * 9_000, *range(1_000))


def scorer_that_has_seen(folder: Path, *tables: pa.Table):
    scorer = make_scorer(onnx_models.less_the_mean(folder / "m.onnx"), SCHEMA, batch_size=64)
    for table in tables:
        scorer.score(table)
    return scorer


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param([], id="nothing"),
        pytest.param([ALIKE], id="rows that are alike"),
        pytest.param([ALIKE.slice(0, 2)] * 100, id="a few alike, time and again"),
        pytest.param([table_of(1.0)] * 100, id="single rows"),
    ],
)
@pytest.mark.parametrize("method", ["score", "score_isolated"])
def test_rows_that_differ_are_compared_wherever_they_come(tmp_path, seen, method):
    scorer = scorer_that_has_seen(tmp_path, *seen)
    try:
        with pytest.raises(JobFailed) as refusal:
            getattr(scorer, method)(MIXED)
    finally:
        scorer.close()

    assert refusal.value.reason is Reason.MODEL_NOT_ROWWISE


def test_rows_that_are_alike_do_not_end_the_search_for_ever(tmp_path):
    scorer = make_scorer(onnx_models.less_the_mean(tmp_path / "m.onnx"), SCHEMA)
    assert scorer.probe_unless_few(ALIKE.slice(0, probing.PROBE_ROWS)) is None
    size = scorer.batch_size

    assert scorer.score(ALIKE).table["score"].to_pylist() == [0.0] * 10_000
    with pytest.raises(JobFailed, match="changes when it is scored with"):
        scorer.score(MIXED)
    assert scorer.batch_size == size


def test_no_thread_scores_rows_that_differ_before_they_were_compared(tmp_path):
    scorer = scorer_that_has_seen(tmp_path)

    def outcome(number: int) -> object:
        try:
            return set(scorer.score((ALIKE, MIXED)[number % 2]).table["score"].to_pylist())
        except JobFailed as failure:
            return failure.reason

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(outcome, range(40)))

    assert outcomes == [{0.0}, Reason.MODEL_NOT_ROWWISE] * 20


def feeds_of(values: np.ndarray) -> Feeds:
    return Feeds(size=len(values), sources={"x": Dense(values)}, kept=None, errors=())


def counted(monkeypatch, *, seconds: float = 0.0, refuses: float = np.nan) -> SimpleNamespace:
    """A model whose calls are counted, by a clock that only they move."""
    calls, now = [], SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(probing.time, "perf_counter", lambda: now.seconds)

    def call(feeds):
        calls.append(len(feeds["x"]))
        now.seconds += seconds * len(feeds["x"])
        if (feeds["x"] == refuses).any():
            raise InferenceFailed("InferenceError", "refused")
        return {"y": feeds["x"]}

    return SimpleNamespace(call=call, calls=calls)


def tried_on(model: SimpleNamespace, *tables: np.ndarray) -> tuple[Trial, list[int]]:
    """Which of the tables cost calls."""
    trial = Trial(FLOAT32)
    cost = []
    for number, values in enumerate(tables):
        before = len(model.calls)
        if trial.wants(feeds_of(values)):
            trial.compare(model.call, feeds_of(values))
        if len(model.calls) > before:
            cost.append(number)
    return trial, cost


DIFFERENT, SAME = np.arange(1000.0), np.ones(1000)


@pytest.mark.parametrize(
    ("tables", "cost", "over"),
    [
        pytest.param([DIFFERENT] * 3, [0], True, id="rows that can tell"),
        pytest.param([SAME] * 3, [0], False, id="rows that are alike, which are compared once"),
        pytest.param([SAME, SAME, DIFFERENT, DIFFERENT], [0, 2], True, id="alike, then different"),
        pytest.param([DIFFERENT[:20]] * 9, [0, 1, 2, 3], True, id="few rows, but many times"),
        pytest.param([DIFFERENT[:1]] * 9, [], False, id="single rows, which never meet"),
        pytest.param([DIFFERENT[:0]], [], False, id="no rows"),
    ],
)
def test_a_trial_costs_calls_until_rows_could_tell_and_no_more(monkeypatch, tables, cost, over):
    trial, paid = tried_on(counted(monkeypatch), *tables)

    assert (paid, trial.over) == (cost, over)


def test_a_slow_model_is_not_tried_again_on_rows_of_which_three_are_compared(monkeypatch):
    trial, paid = tried_on(counted(monkeypatch, seconds=1.0), *[DIFFERENT[:20]] * 3)

    assert (paid, trial.over) == ([0], True)


def test_a_row_that_cannot_be_scored_does_not_tell(monkeypatch):
    one_other = SAME.copy()
    one_other[900] = 5.0
    trial, paid = tried_on(counted(monkeypatch, refuses=5.0), one_other, SAME, one_other)

    assert (paid, trial.over) == ([0, 2], False)


def test_a_trial_is_over_where_every_call_takes_one_row():
    trial = Trial(FLOAT32, fixed_batch=1)

    assert trial.over
    assert not trial.wants(feeds_of(DIFFERENT))
