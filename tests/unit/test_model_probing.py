"""How many rows a call takes, by a clock that only the model moves."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models import probing
from batch_inference_runner.models.feeds import Dense, Feeds


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(probing.time, "perf_counter", lambda: now.seconds)
    return now


def feeds_of(values: np.ndarray) -> Feeds:
    return Feeds(count=len(values), sources={"x": Dense(values)}, kept=None, errors=())


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
    row_seconds = probing.check_rowwise(call, feeds, probing.FLOAT32)

    assert probing.find_batch_size(call, feeds, row_seconds=row_seconds) == expected
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
        (1e-7, probing.FLOAT32, True),
        (1e-2, probing.FLOAT32, False),
        (1e-3, probing.FLOAT16, True),
        (1e-2, probing.QUANTIZED, True),
        (0.5, probing.QUANTIZED, False),
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
