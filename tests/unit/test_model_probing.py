"""How many rows a call takes, by a clock that only the model moves."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models import probing
from batch_inference_runner.models.feeds import Dense, Feeds, Interleaved
from batch_inference_runner.models.onnx import InferenceFailed
from batch_inference_runner.models.tolerance import FLOAT16, FLOAT32, QUANTIZED


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(probing.time, "perf_counter", lambda: now.seconds)
    return now


def feeds_of(values: np.ndarray) -> Feeds:
    return Feeds(size=len(values), sources={"x": Dense(values)}, kept=None, errors=())


def model_that_takes(clock, seconds_of):
    def call(feeds):
        clock.seconds += seconds_of(len(feeds["x"]))
        return {"y": feeds["x"]}

    return call


@pytest.mark.parametrize(
    ("seconds_of", "expected"),
    [
        pytest.param(lambda n: 10e-6 + n * 0.2e-6, 1024, id="a small network"),
        pytest.param(lambda n: n * 4e-6, 1024, id="trees, where the batch does not matter"),
        pytest.param(lambda n: 500e-6 + n * 0.1e-6, 8192, id="calls that cost more than rows"),
        pytest.param(
            lambda n: n * (1e-6 if n <= 256 else 3e-6), 64, id="rows that soon outgrow the cache"
        ),
        pytest.param(lambda n: n * 20e-3, 16, id="a transformer"),
        pytest.param(lambda n: n * 100e-3, 4, id="a slow network"),
        pytest.param(lambda n: n * 3.0, 1, id="rows of seconds"),
    ],
)
def test_the_batch_size_suits_the_model(clock, seconds_of, expected):
    call = model_that_takes(clock, seconds_of)
    feeds = feeds_of(np.zeros((probing.PROBE_ROWS, 4), np.float32))
    checked = probing.check_rowwise(call, feeds, FLOAT32)

    size = probing.find_batch_size(call, feeds, row_seconds=checked.row_seconds)
    assert size == expected
    assert clock.seconds < max(0.1, 10 * seconds_of(1))


def test_few_rows_do_not_settle_for_small_batches(clock):
    call = model_that_takes(clock, lambda n: n * 1e-6)

    assert probing.find_batch_size(call, feeds_of(np.zeros((5, 1))), row_seconds=1e-6) == 1024


def test_wide_rows_get_batches_that_fit_in_memory(clock):
    call = model_that_takes(clock, lambda n: n * 1e-6)
    feeds = feeds_of(np.zeros((20, 1_000_000), np.float16))

    assert probing.find_batch_size(call, feeds, row_seconds=1e-6) == 16


@pytest.mark.parametrize(
    ("noise", "tolerance", "accepted"),
    [
        (1e-7, FLOAT32, True),
        (1e-2, FLOAT32, False),
        (1e-3, FLOAT16, True),
        (1e-2, QUANTIZED, True),
        (0.5, QUANTIZED, False),
    ],
)
def test_rounding_is_told_from_dependence_on_the_batch(noise, tolerance, accepted):
    def call(feeds):
        return {"y": feeds["x"] * (1 + noise * (len(feeds["x"]) > 1))}

    feeds = feeds_of(np.array([0.0, 1.0, np.nan, -3.0]))
    if accepted:
        probing.check_rowwise(call, feeds, tolerance)
    else:
        with pytest.raises(JobFailed, match="changes when it is scored with"):
            probing.check_rowwise(call, feeds, tolerance)


def test_noise_of_sums_that_nearly_cancel_is_rounding():
    """It is small beside the scores of other rows, and large beside one that is almost zero."""

    def call(feeds):
        noise = 5e-5 if len(feeds["x"]) > 1 else 0.0
        return {"y": feeds["x"] + noise}

    assert probing.check_rowwise(call, feeds_of(np.linspace(-2, 2, 1001)), FLOAT32)


@pytest.mark.parametrize("share", [1e-3, 1e-4])
def test_however_small_is_what_other_rows_change_it_is_dependence(share):
    def call(feeds):
        return {"y": feeds["x"] + share * feeds["x"].max()}

    with pytest.raises(JobFailed, match="changes when it is scored with"):
        probing.check_rowwise(call, feeds_of(np.linspace(-2, 2, 1001)), FLOAT32)


COARSE = [QUANTIZED, FLOAT16]
NUMBERS = [np.int64, np.bool_, np.uint8]
TEXT = np.array(["no", "yes"], dtype=object)


def labels_of(kind, values: np.ndarray) -> np.ndarray:
    return TEXT[values.astype(int)] if kind is str else values.astype(kind)


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["fast", "slow"])
@pytest.mark.parametrize("tolerance", COARSE)
@pytest.mark.parametrize("kind", [*NUMBERS, str])
def test_labels_that_follow_the_batch_are_refused_of_coarse_models_too(
    clock, seconds, tolerance, kind
):
    def call(feeds):
        clock.seconds += seconds * len(feeds["x"])
        return {"label": labels_of(kind, feeds["x"] > feeds["x"].mean())}

    with pytest.raises(JobFailed, match="'label' of a row changes when it is scored with"):
        probing.check_rowwise(call, feeds_of(np.arange(1000.0)), tolerance)


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["fast", "slow"])
@pytest.mark.parametrize("count", [2, 5, 20, 1000])
@pytest.mark.parametrize("kind", [*NUMBERS, str])
def test_a_label_may_flip_at_a_tie_where_the_model_is_coarse(clock, seconds, count, kind):
    values = np.arange(float(count))

    def call(feeds):
        clock.seconds += seconds * len(feeds["x"])
        together = len(feeds["x"]) > 1
        return {"label": labels_of(kind, (feeds["x"] == count - 1) & together)}

    for tolerance in COARSE:
        assert probing.check_rowwise(call, feeds_of(values), tolerance).differed
    with pytest.raises(JobFailed):
        probing.check_rowwise(call, feeds_of(values), FLOAT32)


def test_scores_by_label_of_a_coarse_model_are_compared_as_numbers():
    def call(feeds):
        scores = np.empty(len(feeds["x"]), dtype=object)
        scores[:] = [{"no": 0.0, "yes": float(len(scores) > 1)} for _ in scores]
        return {"scores": scores}

    with pytest.raises(JobFailed, match="'scores' of a row changes"):
        probing.check_rowwise(call, feeds_of(np.arange(3.0)), QUANTIZED)


@pytest.mark.usefixtures("clock")
def test_more_rows_are_scored_alone_where_labels_may_flip():
    calls = []

    def call(feeds):
        calls.append(len(feeds["x"]))
        return {"label": feeds["x"].astype(np.int64)}

    probing.check_rowwise(call, feeds_of(np.arange(1000.0)), QUANTIZED)

    assert calls == [*[1] * 20, 2, 3, 20, 64]


def less_the_mean(feeds):
    """As a layer does that normalises over the batch."""
    return {"y": feeds["x"] - feeds["x"].mean(axis=0)}


def lists_of(values: np.ndarray) -> Dense:
    return Dense(values)


def columns_of(values: np.ndarray) -> Interleaved:
    return Interleaved(list(values.T.copy()), np.empty((64, values.shape[1]), values.dtype))


@pytest.mark.parametrize("source_of", [lists_of, columns_of])
@pytest.mark.parametrize("width", [1, 3, 200])
@pytest.mark.parametrize("where", [1, 63, 64, 5000, 8191, slice(4000, None), slice(1, None, 2)])
def test_rows_that_differ_are_scored_together_wherever_they_lie(source_of, width, where):
    values = np.full((probing.PROBE_ROWS, width), 2.5, np.float32)
    values[where, -1] = 7.0
    feeds = Feeds(size=len(values), sources={"x": source_of(values)}, kept=None, errors=())

    with pytest.raises(JobFailed, match="'y' of a row changes when it is scored with"):
        probing.check_rowwise(less_the_mean, feeds, FLOAT32)


@pytest.mark.parametrize("source_of", [lists_of, columns_of])
def test_every_column_varies_among_the_rows_that_are_scored_together(source_of):
    values = np.full((probing.PROBE_ROWS, 3), 2.5, np.float32)
    values[:, 0] = np.arange(len(values))
    values[7000, 2] = 100.0
    feeds = Feeds(size=len(values), sources={"x": source_of(values)}, kept=None, errors=())

    def call(feeds):
        return {"y": feeds["x"][:, 0] + feeds["x"][:, 2].mean()}

    with pytest.raises(JobFailed, match="changes when it is scored with"):
        probing.check_rowwise(call, feeds, FLOAT32)


def test_text_and_missing_numbers_are_compared_too():
    words = np.array(["a"] * 5000 + ["b"], dtype=object)
    numbers = np.full((5001, 1), np.nan, np.float32)
    sources = {"word": Dense(words), "number": Dense(numbers)}
    feeds = Feeds(size=5001, sources=sources, kept=None, errors=())

    def call(feeds):
        return {"y": np.full(len(feeds["word"]), len(set(feeds["word"])))}

    assert feeds.unlike(0).tolist() == [5000]
    with pytest.raises(JobFailed, match="changes when it is scored with 1 others"):
        probing.check_rowwise(call, feeds, FLOAT32)


def test_rows_beside_one_that_cannot_be_scored_are_compared_too():
    values = np.full((1000, 1), 2.5, np.float32)
    values[0] = np.inf
    values[900] = 7.0

    def call(feeds):
        if np.isinf(feeds["x"]).any():
            raise InferenceFailed("InferenceError", "too large")
        return less_the_mean(feeds)

    with pytest.raises(JobFailed, match="changes when it is scored with"):
        probing.check_rowwise(call, feeds_of(values), FLOAT32)


def test_rows_that_are_all_the_same_tell_nothing():
    feeds = feeds_of(np.full((probing.PROBE_ROWS, 3), np.nan, np.float32))

    assert not probing.check_rowwise(less_the_mean, feeds, FLOAT32).differed


def test_a_row_that_differs_but_cannot_be_scored_tells_nothing():
    values = np.full(1000, 2.5, np.float32)
    values[900] = np.inf

    def call(feeds):
        if np.isinf(feeds["x"]).any():
            raise InferenceFailed("InferenceError", "too large")
        return less_the_mean(feeds)

    assert not probing.check_rowwise(call, feeds_of(values), FLOAT32).differed


@pytest.mark.parametrize("count", [2, 3, 15, 64, 100])
def test_few_rows_are_enough_to_tell(count):
    values = np.arange(count, dtype=np.float32)

    def check(call):
        return probing.check_rowwise(call, feeds_of(values), FLOAT32)

    assert check(lambda feeds: {"y": feeds["x"] * 2}).differed
    with pytest.raises(JobFailed, match="changes when it is scored with"):
        check(less_the_mean)


def test_one_row_that_can_be_scored_tells_nothing():
    def only_the_last(feeds):
        if (feeds["x"] < 4).any():
            raise InferenceFailed("InferenceError", "too small")
        return less_the_mean(feeds)

    for values in (np.array([4.0]), np.arange(5.0)):
        check = probing.check_rowwise(only_the_last, feeds_of(values), FLOAT32)
        assert check is None


@pytest.mark.parametrize(
    ("rows", "can_tell"),
    [
        pytest.param(np.arange(64.0), True, id="as many as are checked"),
        pytest.param(np.arange(63.0), False, id="fewer"),
        pytest.param(np.zeros(8192), False, id="all alike"),
        pytest.param(np.arange(24.0e6).reshape(6, -1), True, id="few that are wide"),
        pytest.param(np.zeros((0, 3)), False, id="none"),
    ],
)
def test_rows_that_are_few_or_all_alike_cannot_tell(rows, can_tell):
    assert probing.can_tell(feeds_of(rows)) is can_tell


def test_no_rows_of_several_columns_cannot_tell():
    source = Interleaved([np.empty(0), np.empty(0)], np.empty((4, 2)))
    assert not probing.can_tell(Feeds(size=0, sources={"x": source}, kept=None, errors=()))


@pytest.mark.parametrize(
    ("row_seconds", "expected"), [(1e-6, [1, 1, 1, 2, 3, 64]), (1.0, [1, 1, 1, 2, 3])]
)
def test_a_slow_model_scores_few_rows_to_be_checked(clock, row_seconds, expected):
    calls = []

    def call(feeds):
        calls.append(len(feeds["x"]))
        clock.seconds += row_seconds * len(feeds["x"])
        return {"y": feeds["x"]}

    probing.check_rowwise(call, feeds_of(np.arange(1000.0)), FLOAT32)

    assert calls == expected


def test_few_wide_rows_are_scored_together_to_be_checked():
    calls = []

    def call(feeds):
        calls.append(len(feeds["x"]))
        return {"y": feeds["x"][:, :1]}

    probing.check_rowwise(call, feeds_of(np.zeros((20, 1_000_000), np.float32)), FLOAT32)

    assert calls == [1, 1, 1, 2, 3, 8]
