"""Every write of a whole run, before and after its effect, is its last; then the same job again."""

from __future__ import annotations

import itertools
import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_runner.commit.verify import verify
from batch_inference_runner.storage.folder import Folder
from testkit import onnx_models
from testkit.faulty_store import CRASHES, Fault
from testkit.forked_runs import CRASHED, ForkedRuns

ROWS = 40
SHARDS = 4
COLUMNS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def runs():
    with ForkedRuns() as forked:
        yield forked


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    table = pa.table(
        {"id": np.arange(ROWS), **{name: np.arange(ROWS, dtype=np.float32) for name in COLUMNS}}
    )
    pq.write_table(table, folder / "rows.parquet", row_group_size=ROWS // SHARDS)
    onnx_models.linear(folder / "model.onnx")
    return folder


def config_of(dataset, output, *, mode="ErrorIfExists", name="job", codec="none") -> RunnerConfig:
    return RunnerConfig.model_validate(
        {
            "job": {"name": name, "namespace": "default"},
            "model": {
                "location": {"uri": f"file://{dataset}/model.onnx"},
                "inputs": [{"name": "input", "columns": COLUMNS}],
                "outputs": [{"name": "score", "column": "score"}],
            },
            "input": {
                "locations": [{"uri": f"file://{dataset}/rows.parquet"}],
                "key_field": "id",
                "format": "Parquet",
            },
            "output": {
                "location": {"uri": f"file://{output}/"},
                "format": "Parquet",
                "passthrough_fields": ["id"],
                "compression": codec,
                "mode": mode,
            },
            "sharding": {"target_rows_per_shard": ROWS // SHARDS},
            "workers": {"cpu_millis": 1000},
        }
    )


def markers_of(output) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in output.glob("_bij/*/commit/*/*.json")}


def assert_exact(output, *, results=1):
    """I1 and I2 for readers of the manifest and of a `part-*` glob."""
    listed = sorted(file["path"] for file in json.loads((output / "_SUCCESS").read_text())["files"])
    assert sorted(str(path.relative_to(output)) for path in output.glob("part-*")) == listed
    rows = [row for name in listed for row in pq.read_table(output / name).to_pylist()]
    assert sorted(row["id"] for row in rows) == sorted(list(range(ROWS)) * results)
    for row in rows:
        assert row["score"] == pytest.approx(6 * row["id"] + 0.5)
    assert verify(Folder(output)) == ()


def resume(runs, config, output):
    before = markers_of(output)
    ended = runs.run(config)
    assert ended.code == 0, ended
    after = markers_of(output)
    assert {key: after.get(key) for key in before} == before, "a committed shard was scored again"


@pytest.mark.parametrize("fault", CRASHES)
def test_a_run_that_dies_at_any_write_is_resumed_exactly(runs, dataset, tmp_path, fault):
    for at in itertools.count(1):
        output = tmp_path / str(at)
        config = config_of(dataset, output)
        ended = runs.run(config, at=at, fault=fault)
        if ended.code != CRASHED:
            break
        resume(runs, config, output)
        assert_exact(output)
    assert ended.code == 0, ended
    assert at > 20


@pytest.mark.parametrize(("mode", "results", "step"), [("Overwrite", 1, 2), ("Append", 2, 3)])
def test_a_run_over_an_older_result_that_dies_at_any_write_is_resumed_exactly(
    runs, dataset, tmp_path, mode, results, step
):
    older = tmp_path / "older"
    assert runs.run(config_of(dataset, older, name="older", codec="zstd")).code == 0
    for at in itertools.count(1, step):
        output = tmp_path / str(at)
        shutil.copytree(older, output)
        config = config_of(dataset, output, mode=mode)
        ended = runs.run(config, at=at, fault=Fault.CRASH_AFTER)
        if ended.code != CRASHED:
            break
        resume(runs, config, output)
        assert_exact(output, results=results)
    assert ended.code == 0, ended
    assert at > 20


def test_runs_that_die_again_and_again_end_exactly(runs, dataset, tmp_path):
    chance = random.Random(20261122)
    for number in range(5):
        output = tmp_path / str(number)
        config = config_of(dataset, output)
        while True:
            fault = chance.choice(CRASHES)
            ended = runs.run(config, at=chance.randint(1, 12), fault=fault)
            if ended.code == 0:
                break
            assert ended.code == CRASHED, ended
        assert_exact(output)
