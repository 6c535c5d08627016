"""What a model gives: maps, text, and values that are not finite."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from batch_inference_api.choices import NonFinitePolicy
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ModelOutputBinding
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models.output_binding import OutputPlan
from batch_inference_runner.models.outputs import Outputs
from testkit import onnx_models
from testkit.scorers import make_scorer, rejected


def failing_zipmap(path):
    """A classifier by the number of a row; it fails for numbers other than 0, 1 and 2."""
    model = onnx.load(onnx_models.zipmap(path))
    inputs = [helper.make_tensor_value_info("row", TensorProto.INT64, ["N"])]
    table = helper.make_tensor("t", TensorProto.FLOAT, (3, 2), [1, 2, math.nan, 3, 4, 5])
    model.graph.node.insert(0, helper.make_node("Gather", ["t", "row"], ["x"]))
    model.graph.initializer.append(table)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("label", [None, "yes"])
def test_maps_that_are_not_finite_are_rejected_beside_rows_that_fail(tmp_path, label):
    path = failing_zipmap(tmp_path / "m.onnx")
    table = pa.table({"row": [0, 9, 1, 2]})
    bound = ModelOutputBinding(
        name="probability", column="p", class_label=label, non_finite=NonFinitePolicy.REJECT
    )

    result = make_scorer(path, table.schema, outputs=(bound,)).score(table)

    assert rejected(result) == {1: "InferenceError", 2: "NonFinite"}
    assert result.table["row"].to_pylist() == [0, 2]


def test_strings_are_finite_whatever_their_shape(tmp_path):
    path = onnx_models.identity(tmp_path / "m.onnx", TensorProto.STRING, ("N", 2))
    table = pa.table({"x": [["a", "nan"], ["inf", ""]]})
    bound = ModelOutputBinding(name="y", column="c", non_finite=NonFinitePolicy.REJECT)

    result = make_scorer(path, table.schema, outputs=(bound,)).score(table)

    assert result.table["c"].to_pylist() == [["a", "nan"], ["inf", ""]]


def test_scores_that_are_not_finite_are_rejected_where_the_job_says_so(tmp_path):
    path = onnx_models.identity(tmp_path / "m.onnx", TensorProto.FLOAT, ("N", 2))
    rows = [[1.0, 2.0], [math.nan, 3.0], [4.0, math.inf]]
    table = pa.table({"x": pa.array(rows, pa.list_(pa.float32()))})

    def outcome(**binding):
        bound = ModelOutputBinding(
            name="y", column="c", non_finite=NonFinitePolicy.REJECT, **binding
        )
        return make_scorer(path, table.schema, outputs=(bound,)).score(table)

    assert rejected(outcome()) == {1: "NonFinite", 2: "NonFinite"}
    assert rejected(outcome(index=1)) == {2: "NonFinite"}
    assert outcome(index=1).table["c"].to_pylist() == [2.0, 3.0]
    allowed = make_scorer(path, table.schema).score(table)
    assert allowed.errors == ()


def test_class_probabilities_are_picked_from_maps(tmp_path):
    path = onnx_models.zipmap(tmp_path / "m.onnx", labels=("no", "yes"))
    table = pa.table({"x": pa.array([[0.0, 0.0], [0.0, 9.0]], pa.list_(pa.float32(), 2))})
    schema = table.schema
    yes = ModelOutputBinding(name="probability", column="p_yes", class_label="yes")
    no = ModelOutputBinding(name="probability", column="p_no", class_label="no")

    picked = make_scorer(path, schema, outputs=(yes, no)).score(table).table

    assert picked["p_yes"].to_pylist() == pytest.approx([0.5, 0.99987662], rel=1e-5)
    assert picked["p_no"].to_pylist()[0] == 0.5
    whole = make_scorer(path, schema).score(table).table["probability"]
    assert whole.type == pa.map_(pa.string(), pa.float32())
    assert whole.to_pylist()[0] == [("no", 0.5), ("yes", 0.5)]


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("method", ["score", "probe", "probe_unless_few"])
def test_a_class_that_the_model_does_not_have_is_found_by_the_first_row(
    tmp_path, method, batch_size, rows
):
    path = onnx_models.zipmap(tmp_path / "m.onnx", labels=("no", "yes"))
    table = pa.table({"x": [[0.0, float(row)] for row in range(rows)]})
    maybe = ModelOutputBinding(name="probability", column="p", class_label="maybe")
    scorer = make_scorer(path, table.schema, outputs=(maybe,), batch_size=batch_size)

    def try_it():
        if few := getattr(scorer, method)(table):
            scorer.probe(few)

    with pytest.raises(JobFailed, match=r"'maybe' .* its classes are 'no', 'yes'") as caught:
        try_it()

    assert caught.value.reason is Reason.SCHEMA_MISMATCH


def test_batches_whose_outputs_differ_in_width_may_be_scored_row_by_row():
    plan = OutputPlan(output="y", column="y", type=pa.list_(pa.float32()))
    outputs = Outputs((plan,), rows=3)
    outputs.put(0, 2, {"y": np.zeros((2, 2), np.float32)})

    with pytest.raises(JobFailed, match=r"spec\.batching\.batchSize: 1") as caught:
        outputs.put(2, 3, {"y": np.zeros((1, 1), np.float32)})

    assert caught.value.reason is Reason.MODEL_NOT_ROWWISE
