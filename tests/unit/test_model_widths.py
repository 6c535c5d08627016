"""How wide the outputs of models are whose declaration is not to be relied on."""

from __future__ import annotations

import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from batch_inference_runner.models.onnx import InferenceFailed, OnnxModel
from testkit import onnx_models
from testkit.scorers import make_scorer


def trees(path, table, *, declared=1):
    """A tree that gives every row `table[0]` or, above 0.5, `table[1]`."""
    targets = len(table[0])
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=targets,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0] * 2 * targets,
        target_nodeids=[1] * targets + [2] * targets,
        target_ids=list(range(targets)) * 2,
        target_weights=[*table[0], *table[1]],
    )
    return onnx_models.save(
        path,
        [node],
        [("x", TensorProto.FLOAT, ["N", 1])],
        [("y", TensorProto.FLOAT, ["N", declared])],
        opsets=["ai.onnx.ml"],
    )


def test_the_width_of_trees_is_measured_before_a_row_is_there(tmp_path):
    path = trees(tmp_path / "m.onnx", ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]))
    table = pa.table({"x": pa.array([0.0, 1.0], pa.float32())})

    scorer = make_scorer(path, table.schema)

    assert scorer.added == (pa.field("y", pa.list_(pa.float32())),)
    assert scorer.score(table).table["y"].to_pylist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda path: onnx_models.linear(path, width=1), id="shapes are inferred"),
        pytest.param(
            lambda path: trees(path, ([1.0, 2.0], [3.0, 4.0]), declared=2), id="wide as declared"
        ),
    ],
)
def test_a_model_whose_shapes_are_known_is_not_called_before_there_are_rows(
    tmp_path, monkeypatch, build
):
    path = build(tmp_path / "m.onnx")
    calls = []
    monkeypatch.setattr(OnnxModel, "run", lambda *_: calls.append("called"))
    schema = pa.schema([("x", pa.float32()), ("input", pa.float32())])

    make_scorer(path, schema)

    assert calls == []


def test_trees_that_made_up_rows_do_not_suit_are_as_wide_as_declared(tmp_path, monkeypatch):
    def refuse(*_):
        raise InferenceFailed("InferenceError", "not of these values")

    path = trees(tmp_path / "m.onnx", ([1.0, 2.0], [3.0, 4.0]))
    monkeypatch.setattr(OnnxModel, "run", refuse)
    schema = pa.schema([("x", pa.float32())])

    assert make_scorer(path, schema).added == (pa.field("y", pa.float32()),)
