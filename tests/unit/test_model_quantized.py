"""Quantized models: a scale taken from the batch is refused, one that is fixed is accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location, ModelConfig
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models.model_file import ModelFile, fetch_model
from testkit import onnx_models
from testkit.scorers import make_scorer, run_plainly

WIDTH = 8
ROWS = np.random.default_rng(3).normal(size=(200, WIDTH)).astype(np.float32)


def fetched(path: Path) -> ModelFile:
    return fetch_model(ModelConfig(location=Location(uri=path.as_uri())), path.parent / "private")


def table_of(rows: np.ndarray) -> pa.Table:
    return pa.table({"input": pa.array(rows.tolist(), pa.list_(pa.float32()))})


def network(folder: Path) -> Path:
    return onnx_models.mlp(folder / "float.onnx", width=WIDTH, hidden=(16,))


def dynamically_quantized(folder: Path) -> Path:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(network(folder), folder / "m.onnx")
    return folder / "m.onnx"


def statically_quantized(folder: Path) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Rows(CalibrationDataReader):
        def __init__(self):
            self._left = iter([{"input": ROWS}])

        def get_next(self):
            return next(self._left, None)

    quantize_static(network(folder), folder / "m.onnx", Rows(), quant_format=QuantFormat.QDQ)
    return folder / "m.onnx"


def quantize(x: str, y: str) -> list:
    """Nodes that make y out of x by way of the 256 steps between the extremes of the batch."""
    return [
        helper.make_node("DynamicQuantizeLinear", [x], ["steps", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], [y]),
    ]


def inside_a_branch(folder: Path) -> Path:
    value = helper.make_tensor_value_info("branched", TensorProto.FLOAT, ["N", WIDTH])
    branch = helper.make_graph(quantize("input", "branched"), "branch", [], [value])
    return onnx_models.save(
        folder / "m.onnx",
        [helper.make_node("If", ["yes"], ["score"], then_branch=branch, else_branch=branch)],
        [("input", TensorProto.FLOAT, ["N", WIDTH])],
        [("score", TensorProto.FLOAT, ["N", WIDTH])],
        [("yes", np.array(True))],
    )


def inside_a_function(folder: Path) -> Path:
    wrap = helper.make_function(
        "local", "Wrap", ["v"], ["w"], quantize("v", "w"), [helper.make_opsetid("", 17)]
    )
    return onnx_models.save(
        folder / "m.onnx",
        [helper.make_node("Wrap", ["input"], ["score"], domain="local")],
        [("input", TensorProto.FLOAT, ["N", WIDTH])],
        [("score", TensorProto.FLOAT, ["N", WIDTH])],
        opsets=["local"],
        functions=[wrap],
    )


@pytest.mark.parametrize("export", [dynamically_quantized, inside_a_branch, inside_a_function])
def test_a_scale_that_is_taken_from_the_batch_is_refused(tmp_path, export):
    schema = table_of(ROWS).schema

    with pytest.raises(JobFailed, match=r"'DynamicQuantizeLinear' .*QDQ.*batchSize: 1") as caught:
        make_scorer(export(tmp_path), schema)

    assert caught.value.reason is Reason.MODEL_NOT_ROWWISE


@pytest.mark.parametrize("name", ["DynamicQuantizeMatMul", "DynamicQuantizeLSTM"])
def test_operators_that_choose_a_scale_by_themselves_are_refused_too(tmp_path, name):
    path = onnx_models.custom_operator(tmp_path / "m.onnx", domain="com.microsoft", name=name)

    assert fetched(path).scaled_by_batch == name


def test_a_function_of_the_model_may_have_the_name_of_an_operator(tmp_path):
    own = helper.make_function(
        "local",
        "DynamicQuantizeNothing",
        ["v"],
        ["w"],
        [helper.make_node("Identity", ["v"], ["w"])],
        [helper.make_opsetid("", 17)],
    )
    path = onnx_models.save(
        tmp_path / "m.onnx",
        [helper.make_node("DynamicQuantizeNothing", ["x"], ["y"], domain="local")],
        [("x", TensorProto.FLOAT, ["N"])],
        [("y", TensorProto.FLOAT, ["N"])],
        opsets=["local"],
        functions=[own],
    )

    assert fetched(path).scaled_by_batch is None


def test_row_by_row_a_scale_of_the_batch_is_a_scale_of_the_row(tmp_path):
    path = dynamically_quantized(tmp_path)
    rows = ROWS.copy()
    rows[7] *= 50_000
    table = table_of(rows)

    scores = make_scorer(path, table.schema, batch_size=1).score(table).table["score"]

    alone = [run_plainly(path, {"input": rows[[row]]})[0].item() for row in range(len(rows))]
    np.testing.assert_array_equal(np.array(scores.to_pylist(), np.float32), np.float32(alone))


def test_scales_that_are_part_of_the_model_are_accepted(tmp_path):
    path = statically_quantized(tmp_path)
    table = table_of(ROWS)
    scorer = make_scorer(path, table.schema)

    scorer.probe(table)

    scores = np.array(scorer.score(table).table["score"].to_pylist(), np.float32)
    expected = run_plainly(path, {"input": ROWS})[0][:, 0]
    np.testing.assert_allclose(scores, expected, atol=0.05)


def labels_by_the_mean(folder: Path) -> Path:
    """Statically quantized, and its label says if a row is beyond the mean of the batch."""
    return onnx_models.save(
        folder / "m.onnx",
        [
            helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["steps"]),
            helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], ["coarse"]),
            helper.make_node("ReduceMean", ["coarse"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Greater", ["coarse", "mean"], ["beyond"]),
            helper.make_node("Cast", ["beyond"], ["label"], to=TensorProto.INT64),
        ],
        [("input", TensorProto.FLOAT, ["N", WIDTH])],
        [("label", TensorProto.INT64, ["N", WIDTH])],
        [("scale", np.float32(0.05)), ("zero", np.uint8(128))],
    )


def test_labels_of_a_quantized_model_are_compared(tmp_path):
    table = table_of(ROWS)

    with pytest.raises(JobFailed, match="'label' of a row changes when it is scored with"):
        make_scorer(labels_by_the_mean(tmp_path), table.schema).probe(table)
