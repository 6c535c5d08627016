"""Every kind of model end to end, and rows that take native code down with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto

from testkit import onnx_models
from testkit.checked_runs import Result, fail, succeed
from testkit.jobs import Job
from testkit.small_jobs import linear_job, set_fields

ROWS = 300
RNG = np.random.default_rng(5)
MATRIX = RNG.normal(size=(ROWS, 4)).astype(np.float32)
NAMES = ["w", "x", "y", "z"]
SMALLEST = -(2**63)


def job_of(folder: Path, model: Path, table: pa.Table, fields: dict | None = None) -> Job:
    """A job over one file whose columns bind by name unless `fields` say more."""
    job = linear_job(folder, {"model.storageUri": str(model), "model.inputs": ...})
    table = table.add_column(0, "id", pa.array(range(table.num_rows)))
    half = max(1, table.num_rows // 2)
    pq.write_table(table, folder / "input" / "0.parquet", row_group_size=half)
    return set_fields(job, fields)


def matrix_table() -> pa.Table:
    return pa.table(dict(zip(NAMES, MATRIX.T, strict=True)))


def plainly(model: Path, feeds: dict) -> list:
    return ort.InferenceSession(str(model)).run(None, feeds)


def saved(folder: Path, model) -> Path:
    path = folder / "exported.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def boosted_trees(folder: Path) -> Path:
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    trees = GradientBoostingClassifier(n_estimators=8, random_state=1)
    trees.fit(MATRIX, (MATRIX.sum(axis=1) > 0).astype(int))
    return saved(folder, to_onnx(trees, MATRIX[:1], target_opset=17))


def lightgbm_trees(folder: Path) -> Path:
    import lightgbm
    from onnxmltools.convert.lightgbm.operator_converters import LightGbm
    from skl2onnx import to_onnx, update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        LightGbm.convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    trees = lightgbm.LGBMClassifier(n_estimators=8, random_state=1, verbose=-1)
    trees.fit(MATRIX, (MATRIX.sum(axis=1) > 0).astype(int))
    exported = to_onnx(trees, MATRIX[:1], target_opset={"": 17, "ai.onnx.ml": 3})
    return saved(folder, exported)


@pytest.mark.parametrize("export", [boosted_trees, lightgbm_trees])
def test_trees_give_the_label_and_the_probability_of_a_class(tmp_path, export):
    model = export(tmp_path)
    fields = {
        "model.inputs": [{"name": "X", "columns": NAMES}],
        "model.outputs": [
            {"name": "output_label", "column": "label"},
            {"name": "output_probability", "column": "p1", "classLabel": "1"},
        ],
    }
    result = succeed(job_of(tmp_path, model, matrix_table(), fields))
    labels, maps = plainly(model, {"X": MATRIX})
    assert result.column("label") == labels.tolist()
    assert np.allclose(result.column("p1"), [each[1] for each in maps], atol=1e-6)


@pytest.mark.parametrize("kind", ["columns", "list", "fixed list", "doubles"])
def test_a_network_takes_its_matrix_from_columns_or_a_list(tmp_path, kind):
    model = onnx_models.mlp(tmp_path / "mlp.onnx", width=4, hidden=(8,))
    fields = {}
    if kind in ("columns", "doubles"):
        table = matrix_table()
        fields = {"model.inputs": [{"name": "input", "columns": NAMES}]}
        if kind == "doubles":
            table = table.cast(pa.schema([(name, pa.float64()) for name in NAMES]))
    else:
        size = 4 if kind == "fixed list" else -1
        table = pa.table({"input": pa.array(MATRIX.tolist(), pa.list_(pa.float32(), size))})
    result = succeed(job_of(tmp_path, model, table, fields))
    (wanted,) = plainly(model, {"input": MATRIX})
    assert np.allclose(result.column("score"), wanted[:, 0], atol=1e-6)


def test_a_pipeline_takes_strings_and_integers_one_input_a_column(tmp_path):
    elements = {
        "city": TensorProto.STRING,
        "n": TensorProto.INT64,
        "flag": TensorProto.BOOL,
        "half": TensorProto.FLOAT16,
        "wide": TensorProto.DOUBLE,
    }
    model = onnx_models.one_input_a_column(tmp_path / "p.onnx", elements)
    rows = range(ROWS)
    table = pa.table(
        {
            "city": pa.array([f"Köln\0{row % 3}" for row in rows]).dictionary_encode(),
            "n": pa.array([2**62 + row for row in rows]),
            "flag": pa.array([row % 3 == 0 for row in rows]),
            "half": pa.array([np.float16(row / 8) for row in rows], pa.float16()),
            "wide": pa.array([row / 7 for row in rows]),
        }
    )
    result = succeed(job_of(tmp_path, model, table, {"input.filter": "id % 2 = 1"}))
    for name in elements:
        wanted = [value for row, value in enumerate(table[name].to_pylist()) if row % 2]
        assert result.column(f"{name}_out") == wanted, name


@pytest.mark.parametrize("batch", [1, 7])
def test_a_fixed_batch_dimension_is_filled_up(tmp_path, batch):
    model = onnx_models.linear(tmp_path / "fixed.onnx", width=4, batch=batch)
    fields = {"model.inputs": [{"name": "input", "columns": NAMES}]}
    result = succeed(job_of(tmp_path, model, matrix_table(), fields))
    wanted = MATRIX @ np.array([1, 2, 3, 4], "f4") + 0.5
    assert np.allclose(result.column("score"), wanted, atol=1e-5)


def test_a_matrix_output_is_a_list_or_one_of_its_columns(tmp_path):
    model = onnx_models.identity(tmp_path / "m.onnx", TensorProto.FLOAT, ("N", 4))
    fields = {
        "model.inputs": [{"name": "x", "columns": NAMES}],
        "model.outputs": [
            {"name": "y", "column": "all"},
            {"name": "y", "column": "third", "index": 2},
        ],
    }
    fields["output.passthroughFields"] = ["id"]
    result = succeed(job_of(tmp_path, model, matrix_table(), fields))
    assert np.array_equal(np.array(result.column("all"), "f4"), MATRIX)
    assert result.column("third") == MATRIX[:, 2].tolist()


def test_a_model_that_mixes_rows_is_refused(tmp_path):
    model = onnx_models.softmax_over_rows(tmp_path / "m.onnx")
    table = pa.table({"x": pa.array(MATRIX[:, 0])})
    assert fail(job_of(tmp_path, model, table)).message.startswith("ModelNotRowwise")


def test_a_digest_that_is_not_the_models_is_refused(tmp_path):
    model = onnx_models.linear(tmp_path / "m.onnx", width=4)
    fields = {
        "model.inputs": [{"name": "input", "columns": NAMES}],
        "model.digest": f"sha256:{hashlib.sha256(b'other').hexdigest()}",
    }
    message = fail(job_of(tmp_path, model, matrix_table(), fields)).message
    assert message.startswith("ModelDigestMismatch")


def poisoned(folder: Path, poison: list[int], rows: int, fields: dict | None = None) -> Result:
    a, b = np.arange(rows), np.full(rows, 7)
    a[poison], b[poison] = SMALLEST, -1
    model = onnx_models.divide(folder / "divide.onnx")
    result = succeed(job_of(folder, model, pa.table({"a": a, "b": b}), fields))
    good = sorted(set(range(rows)) - set(poison))
    assert result.by("id", "quotient") == {row: row // 7 for row in good}
    assert result.column("id") == good
    return result


@pytest.mark.parametrize(
    "poison", [[0], [2999], [0, 1, 1499, 1500, 2998]], ids=["first", "last", "many"]
)
def test_exactly_the_rows_that_crash_the_model_are_rejected(tmp_path, poison):
    result = poisoned(tmp_path, poison, 3000)
    assert result.rejected() == [("0.parquet", row, "Infer", "Crashed") for row in poison]


def test_rows_that_crash_in_several_shards_are_all_found(tmp_path):
    result = poisoned(tmp_path, [3, 17, 44], 60, {"sharding.targetRowsPerShard": 30})
    assert [record["key"] for record in result.rejects] == ["3", "17", "44"]


def test_rows_that_hang_are_rejected_after_the_batch_timeout(tmp_path):
    counts = [1, 2, 2**60, 3, 4, 2**61]
    model = onnx_models.loop(tmp_path / "loop.onnx")
    table = pa.table({"count": counts})
    result = succeed(job_of(tmp_path, model, table, {"execution.batchTimeoutSeconds": 2}))
    assert result.by("id", "result") == {0: 2, 1: 4, 3: 6, 4: 8}
    assert result.rejected() == [("0.parquet", row, "Infer", "TimedOut") for row in (2, 5)]


def test_rows_that_want_all_of_the_memory_are_rejected(tmp_path):
    sizes = [10, 2**40, 20, 2**39, 30]
    model = onnx_models.allocate(tmp_path / "allocate.onnx")
    table = pa.table({"size": sizes})
    fields = {"workers.resources": {"limits": {"memory": "2Gi"}}}
    result = succeed(job_of(tmp_path, model, table, fields))
    assert result.by("id", "result") == {0: 20, 2: 40, 4: 60}
    assert [row for _, row, _, _ in result.rejected()] == [1, 3]
