"""Calls of more rows than were compared before do not pass for right because smaller ones were."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models.feeds import Dense, Feeds
from batch_inference_runner.models.onnx import InferenceFailed
from batch_inference_runner.models.tolerance import FLOAT32, QUANTIZED
from batch_inference_runner.models.trial import Trial
from testkit import onnx_models
from testkit.scorers import make_scorer

SCHEMA = pa.schema([("x", pa.float32())])
VALUES = np.random.default_rng(3).normal(size=20_000).astype(np.float32)
TABLE = pa.table({"x": VALUES})
ALIKE = pa.table({"x": pa.array([7.0] * 5000, pa.float32())})


def scorer_of(folder, more_than: int, **execution):
    model = onnx_models.less_the_mean_of_many(folder / "m.onnx", more_than=more_than)
    return make_scorer(model, SCHEMA, **execution)


@pytest.mark.parametrize("more_than", [64, 1000])
def test_sizes_that_are_tried_are_compared(tmp_path, more_than):
    with pytest.raises(JobFailed, match="changes when it is scored with") as refusal:
        scorer_of(tmp_path, more_than).probe(TABLE)

    assert refusal.value.reason is Reason.MODEL_NOT_ROWWISE


@pytest.mark.parametrize("method", ["score", "score_isolated"])
@pytest.mark.parametrize(
    "seen",
    [
        pytest.param([], id="nothing"),
        pytest.param([TABLE.slice(0, 64)], id="few rows"),
        pytest.param([TABLE.slice(0, n) for n in range(64, 90)], id="more and more, up to a few"),
    ],
)
@pytest.mark.parametrize("rows", [TABLE, ALIKE])
def test_a_call_larger_than_all_before_is_compared(tmp_path, seen, rows, method):
    scorer = scorer_of(tmp_path, 100, batch_size=512)
    try:
        for table in seen:
            assert scorer.score(table).table["score"].to_pylist() == table["x"].to_pylist()
        with pytest.raises(JobFailed, match="changes when it is scored with 511 others"):
            getattr(scorer, method)(rows)
    finally:
        scorer.close()


def test_a_call_of_few_rows_at_the_end_does_not_hide_the_larger_ones(tmp_path):
    with pytest.raises(JobFailed, match="with 511 others"):
        scorer_of(tmp_path, 100, batch_size=512).score(TABLE.slice(0, 513))


@pytest.mark.parametrize("batch_size", [1, 64])
def test_calls_that_are_small_enough_for_the_model_are_accepted(tmp_path, batch_size):
    scorer = scorer_of(tmp_path, 64, batch_size=batch_size)
    scorer.probe(TABLE)

    assert scorer.score(TABLE).table["score"].to_pylist() == TABLE["x"].to_pylist()


def feeds_of(values: np.ndarray) -> Feeds:
    return Feeds(size=len(values), sources={"x": Dense(values)}, kept=None, errors=())


def rows_called(trial: Trial, score, *calls: np.ndarray) -> list[list[int]]:
    """How many rows the calls take that comparing each of `calls` costs."""
    costs = []
    for values in calls:
        cost: list[int] = []

        def call(feeds, cost=cost):
            cost.append(len(feeds["x"]))
            return {"y": score(feeds["x"])}

        trial.compare_call(call, feeds_of(values), {"y": score(values)})
        costs.append(cost)
    return costs


def test_a_larger_call_costs_three_rows_and_one_as_large_nothing():
    trial = Trial(FLOAT32)
    alike = np.ones(1000)
    costs = rows_called(
        trial, lambda x: x, alike, alike, VALUES[:1000], VALUES[5:900], alike, VALUES[:1001]
    )

    assert costs == [[1, 1, 1], [], [1, 1, 1], [], [], [1, 1, 1]]


@pytest.mark.parametrize("fixed_batch", [1, 128])
def test_where_all_calls_take_as_many_rows_none_costs_more(fixed_batch):
    assert rows_called(Trial(FLOAT32, fixed_batch=fixed_batch), lambda x: x, VALUES[:128]) == [[]]


def test_a_row_that_cannot_be_scored_alone_is_passed_over():
    def but_the_first(values):
        if len(values) == 1 and values[0] == VALUES[0]:
            raise InferenceFailed("InferenceError", "refused")
        return values

    trial = Trial(FLOAT32)

    assert rows_called(trial, but_the_first, VALUES[:1000]) == [[1] * 4]


def test_a_model_that_scores_no_row_alone_is_asked_for_a_few_of_them_once():
    def only_many(values):
        if len(values) == 1:
            raise InferenceFailed("InferenceError", "refused")
        return values

    costs = rows_called(Trial(FLOAT32), only_many, VALUES[:1000], VALUES[1000:2000])

    assert costs == [[1] * 16, []]


def test_rounding_of_larger_calls_is_told_from_dependence_on_the_batch():
    """Of sums that nearly cancel, it is small beside the scores of other rows."""

    def rounded(values):
        return values + (5e-5 if len(values) > 1 else 0.0)

    def mixed(values):
        return values + (1e-4 * values.max() if len(values) > 1 else 0.0)

    values = np.linspace(-2, 2, 1001)
    values[0] = 1e-9
    rows_called(Trial(FLOAT32), rounded, values)
    with pytest.raises(JobFailed, match="with 1000 others"):
        rows_called(Trial(FLOAT32), mixed, values)


def test_a_few_labels_of_a_coarse_model_may_flip_in_a_larger_call_but_not_many():
    def at_a_tie(values):
        return ((values == values[0]) & (len(values) > 1)).astype(np.int64)

    def by_the_mean(values):
        return (values > values.mean()).astype(np.int64)

    values = np.arange(1000.0)
    rows_called(Trial(QUANTIZED), at_a_tie, values)
    with pytest.raises(JobFailed, match="with 999 others"):
        rows_called(Trial(QUANTIZED), by_the_mean, values)


def test_scores_by_label_are_compared_in_larger_calls_too():
    def maps(values):
        scores = np.empty(len(values), dtype=object)
        scores[:] = [{"no": 0.0, "yes": float(len(values) > 1)} for _ in values]
        return scores

    with pytest.raises(JobFailed, match="with 999 others"):
        rows_called(Trial(FLOAT32), maps, VALUES[:1000])
