"""What a model gives a row that is scored alone: without a row dimension, or never the same."""

from __future__ import annotations

import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ModelOutputBinding
from batch_inference_runner.errors import JobFailed
from testkit import onnx_models
from testkit.scorers import make_scorer


@pytest.mark.parametrize("method", ["score", "score_isolated"])
@pytest.mark.parametrize(
    ("batch", "batch_size", "rows"),
    [
        pytest.param("N", None, 1, id="a dataset of one row"),
        pytest.param("N", 64, 129, id="one row at the end"),
        pytest.param("N", 1, 5, id="batchSize 1"),
        pytest.param(1, None, 5, id="a batch dimension of 1"),
    ],
)
def test_one_value_for_one_row_is_the_score_of_that_row(tmp_path, batch, batch_size, rows, method):
    path = onnx_models.squeezed(tmp_path / "m.onnx", batch=batch)
    table = pa.table({"x": pa.array(range(rows), pa.float32())})
    scorer = make_scorer(path, table.schema, batch_size=batch_size)
    scorer.probe(table)
    try:
        scores = getattr(scorer, method)(table).table["y"]
    finally:
        scorer.close()

    assert scores.type == pa.float32()
    assert scores.to_pylist() == [2.0 * row for row in range(rows)]


@pytest.mark.parametrize("declared", [None, [3], [1, 3], ["N", 3]])
@pytest.mark.parametrize(("batch", "batch_size"), [("N", 1), (1, None), (1, 1)])
def test_several_values_without_a_row_dimension_are_the_one_rows(
    tmp_path, batch, batch_size, declared
):
    path = onnx_models.squeezed(tmp_path / "m.onnx", batch=batch, width=3, declared=declared)
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    table = pa.table({"x": rows})
    bindings = (
        ModelOutputBinding(name="y", column="all"),
        ModelOutputBinding(name="y", column="last", index=2),
    )
    scorer = make_scorer(path, table.schema, batch_size=batch_size, outputs=bindings)
    scorer.probe(table)

    result = scorer.score(table).table

    assert result["all"].to_pylist() == [[2 * value for value in row] for row in rows]
    assert result["last"].to_pylist() == [6.0, 12.0]


def test_a_declared_number_of_rows_is_not_believed_of_single_rows(tmp_path):
    model = onnx.load(onnx_models.identity(tmp_path / "m.onnx", TensorProto.INT64))
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(model, tmp_path / "m.onnx")
    table = pa.table({"x": pa.array([5, 6, 7], pa.int64())})
    scorer = make_scorer(tmp_path / "m.onnx", table.schema, batch_size=1)

    assert scorer.score(table).table["y"].to_pylist() == [5, 6, 7]


def test_several_values_where_one_is_declared_are_refused_by_the_first_row(tmp_path):
    path = onnx_models.squeezed(tmp_path / "m.onnx", width=3, declared=["K"])
    table = pa.table({"x": [[1.0, 2.0, 3.0]]})
    scorer = make_scorer(path, table.schema, batch_size=1)

    with pytest.raises(JobFailed, match=r"returns shape \[3\]; export the model with correct"):
        scorer.probe(table)


@pytest.mark.parametrize(("batch_size", "rows"), [(1, 1), (1, 100), (None, 1), (None, 100)])
def test_a_model_that_draws_random_numbers_is_refused_whatever_the_batch_size(
    tmp_path, batch_size, rows
):
    table = pa.table({"x": pa.array(range(rows), pa.float32())})
    scorer = make_scorer(
        onnx_models.random(tmp_path / "m.onnx"), table.schema, batch_size=batch_size
    )

    with pytest.raises(JobFailed, match="different scores for the same row") as caught:
        scorer.probe(table)

    assert caught.value.reason is Reason.MODEL_UNSUPPORTED
    assert "batchSize" not in caught.value.message
