"""A quantizer's scale is part of the model, or else it is computed from the rows of a batch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location, ModelConfig
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models.model_file import fetch_model
from batch_inference_runner.models.onnx_wire import NotOnnx
from batch_inference_runner.models.quantizer_scales import find_computed_scales
from testkit import onnx_models
from testkit.scorers import make_scorer, run_plainly

WIDTH = 8
ROWS = np.random.default_rng(3).normal(size=(200, WIDTH)).astype(np.float32)


def scaled_by_batch(path: Path) -> str | None:
    config = ModelConfig(location=Location(uri=path.as_uri()))
    return fetch_model(config, path.parent / "private").scaled_by_batch


def standard_body() -> list:
    """Nodes that make y of x as DynamicQuantizeLinear does, by the body that ONNX gives for it."""
    body = onnx.defs.get_schema("DynamicQuantizeLinear", 17).function_body
    return [*body.node, helper.make_node("DequantizeLinear", list(body.output), ["coarse"])]


def model_of(path: Path, nodes: list, weights: Sequence = (), functions: Sequence = ()) -> Path:
    return onnx_models.save(
        path,
        nodes,
        [("x", TensorProto.FLOAT, ["N", WIDTH])],
        [("coarse", TensorProto.FLOAT, ["N", WIDTH])],
        weights,
        opsets=["local"] * bool(functions),
        functions=functions,
    )


def coarse_by(scale: str) -> list:
    return [
        helper.make_node("QuantizeLinear", ["x", scale, "zero"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", scale, "zero"], ["coarse"]),
    ]


SCALE, ZERO = ("scale", np.float32(0.05)), ("zero", np.uint8(128))
LARGEST = helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0)


def body_written_out(path: Path) -> Path:
    return model_of(path, standard_body())


def body_inside_a_function(path: Path) -> Path:
    body = helper.make_function(
        "local", "Coarse", ["x"], ["coarse"], standard_body(), [helper.make_opsetid("", 17)]
    )
    call = helper.make_node("Coarse", ["x"], ["coarse"], domain="local")
    return model_of(path, [call], functions=[body])


def coarse_function(scale_of_call: str) -> tuple[list, list]:
    """A function that takes its scale as an argument, and the call."""
    body = helper.make_function(
        "local",
        "Coarse",
        ["x", "scale_of_it", "zero"],
        ["coarse"],
        coarse_by("scale_of_it"),
        [helper.make_opsetid("", 17)],
    )
    call = helper.make_node("Coarse", ["x", scale_of_call, "zero"], ["coarse"], domain="local")
    return [call], [body]


def argument_of_a_function(path: Path) -> Path:
    call, body = coarse_function("largest")
    return model_of(path, [LARGEST, *call], [ZERO], body)


def scale_from_a_branch(path: Path) -> Path:
    value = helper.make_tensor_value_info("largest", TensorProto.FLOAT, [])
    branch = helper.make_graph([LARGEST], "branch", [], [value])
    choice = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    return model_of(path, [choice, *coarse_by("chosen")], [("yes", np.array(True)), ZERO])


def zero_point_of_the_batch(path: Path) -> Path:
    cast = helper.make_node("Cast", ["largest"], ["zero"], to=TensorProto.UINT8)
    return model_of(path, [LARGEST, cast, *coarse_by("scale")], [SCALE])


@pytest.mark.parametrize(
    "export",
    [
        body_written_out,
        body_inside_a_function,
        argument_of_a_function,
        scale_from_a_branch,
        zero_point_of_the_batch,
    ],
)
def test_a_scale_that_is_computed_from_the_batch_is_refused_too(tmp_path, export):
    path = export(tmp_path / "m.onnx")
    schema = pa.schema([("x", pa.list_(pa.float32(), WIDTH))])

    assert scaled_by_batch(path) in ("QuantizeLinear", "DequantizeLinear")
    assert run_plainly(path, {"x": ROWS})[0].shape == ROWS.shape
    with pytest.raises(JobFailed, match=r"scale that is computed from the rows") as caught:
        make_scorer(path, schema)
    assert caught.value.reason is Reason.MODEL_NOT_ROWWISE
    make_scorer(path, schema, batch_size=1)


def scale_folded_later(path: Path) -> Path:
    nodes = [
        helper.make_node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["wide"], ["same"]),
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Mul", ["same", "two"], ["doubled"]),
    ]
    return model_of(path, [*nodes, *coarse_by("doubled")], [("half", np.float16(0.05)), ZERO])


def fixed_argument_of_a_function(path: Path) -> Path:
    call, body = coarse_function("scale")
    return model_of(path, call, [SCALE, ZERO], body)


def scale_that_a_branch_refers_to(path: Path) -> Path:
    value = helper.make_tensor_value_info("coarse", TensorProto.FLOAT, ["N", WIDTH])
    branch = helper.make_graph(coarse_by("scale"), "branch", [], [value])
    choice = helper.make_node("If", ["yes"], ["coarse"], then_branch=branch, else_branch=branch)
    return model_of(path, [choice], [("yes", np.array(True)), SCALE, ZERO])


def no_zero_point(path: Path) -> Path:
    return model_of(
        path,
        [
            helper.make_node("QuantizeLinear", ["x", "scale"], ["steps"]),
            helper.make_node("DequantizeLinear", ["steps", "scale", ""], ["coarse"]),
        ],
        [SCALE],
    )


@pytest.mark.parametrize(
    "export",
    [
        scale_folded_later,
        fixed_argument_of_a_function,
        scale_that_a_branch_refers_to,
        no_zero_point,
    ],
)
def test_a_scale_that_is_computed_from_the_model_only_is_accepted(tmp_path, export):
    path = export(tmp_path / "m.onnx")

    assert scaled_by_batch(path) is None
    assert run_plainly(path, {"x": ROWS})[0].shape == ROWS.shape


def test_nodes_that_make_each_other_end_the_search(tmp_path):
    circle = [helper.make_node("Add", [f"v{n}", f"v{1 - n}"], [f"v{1 - n}"]) for n in (0, 1)]
    path = model_of(tmp_path / "m.onnx", [*circle, *coarse_by("v0")], [ZERO])

    assert scaled_by_batch(path) is None  # ONNX Runtime refuses such a model


def test_many_quantizers_behind_a_long_way_cost_no_more_than_their_nodes(tmp_path):
    way = [helper.make_node("Identity", [f"s{n}"], [f"s{n + 1}"]) for n in range(3000)]
    uses = [helper.make_node("QuantizeLinear", ["x", "s3000"], [f"q{n}"]) for n in range(3000)]
    path = model_of(tmp_path / "m.onnx", [*way, *uses], [("s0", np.float32(0.05))])
    began = time.process_time()

    assert scaled_by_batch(path) is None
    assert time.process_time() - began < 5


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_hostile_bytes_in_a_quantized_model_end_in_a_refusal_and_nothing_else(
    tmp_path_factory, data
):
    path = tmp_path_factory.getbasetemp() / "hostile_quantized.onnx"
    if not path.exists():
        argument_of_a_function(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotOnnx):
        find_computed_scales(bytes(content))
