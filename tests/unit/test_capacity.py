"""How a pod, or a share of a machine, is divided among scorers."""

from __future__ import annotations

import pytest

from batch_inference_runner.schedule.capacity import Capacity, capacity_of
from testkit.commits import make_config

GIB = 1 << 30


@pytest.mark.parametrize(
    ("workers", "threads_per_call", "cpus", "expected"),
    [
        pytest.param({}, 1, 8, Capacity(1, 8, int(10 * GIB * 0.8)), id="all there is"),
        pytest.param({"cpu_millis": 4000}, 1, 8, Capacity(1, 4, int(10 * GIB * 0.8)), id="asked"),
        pytest.param({"cpu_millis": 9000}, 1, 2, Capacity(1, 2, int(10 * GIB * 0.8)), id="quota"),
        pytest.param({"cpu_millis": 500}, 1, 8, Capacity(1, 1, int(10 * GIB * 0.8)), id="least"),
        pytest.param({}, 4, 8, Capacity(1, 2, int(10 * GIB * 0.8)), id="threads x calls = quota"),
        pytest.param({"gpus": 2}, 1, 8, Capacity(2, 4, int(5 * GIB * 0.8)), id="one per GPU"),
        pytest.param({"memory_bytes": GIB}, 1, 2, Capacity(1, 2, int(GIB * 0.8)), id="memory"),
        pytest.param({"memory_bytes": 1}, 1, 2, Capacity(1, 2, 1), id="0 would be no limit"),
    ],
)
def test_scorers_threads_and_memory(workers, threads_per_call, cpus, expected):
    config = make_config()
    config = config.model_copy(
        update={
            "workers": config.workers.model_copy(update=workers),
            "execution": config.execution.model_copy(
                update={"intra_op_num_threads": threads_per_call}
            ),
        }
    )
    assert capacity_of(config, cpus=cpus, memory_bytes=10 * GIB) == expected
