"""Small ONNX models for tests, built with fixed seeds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


def save(path: Path, nodes, inputs, outputs, initializers=(), *, opsets=(), functions=()) -> Path:
    """Write a model; inputs and outputs are (name, element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in opsets)]
    model = helper.make_model(
        graph, opset_imports=imports, ir_version=IR_VERSION, functions=list(functions)
    )
    onnx.save(model, path)
    return path


def linear(path: Path, *, width: int = 3, batch: int | str = "N", name: str = "input") -> Path:
    """score = input @ (1, 2, 3, ...) + 0.5, with input [N, width]."""
    weights = np.arange(1, width + 1, dtype=np.float32).reshape(width, 1)
    return save(
        path,
        [helper.make_node("Gemm", [name, "w", "b"], ["score"])],
        [(name, TensorProto.FLOAT, [batch, width])],
        [("score", TensorProto.FLOAT, [batch, 1])],
        [("w", weights), ("b", np.array([0.5], dtype=np.float32))],
    )


def slow_linear(path: Path) -> Path:
    """The linear model of three columns, with 17 million multiplications a row that change nothing.

    They take about a third of a millisecond on one core.
    """
    rng = np.random.default_rng(5)
    wide, wider = (rng.normal(size=size).astype(np.float32) for size in ((3, 2048), (2048, 4096)))
    weights = np.arange(1, 4, dtype=np.float32).reshape(3, 1)
    return save(
        path,
        [
            helper.make_node("MatMul", ["input", "wide"], ["hidden"]),
            helper.make_node("Tanh", ["hidden"], ["bounded"]),
            helper.make_node("MatMul", ["bounded", "wider"], ["more"]),
            helper.make_node("ReduceMax", ["more"], ["largest"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Gemm", ["input", "w", "b"], ["linear"]),
            helper.make_node("Add", ["linear", "nothing"], ["score"]),
        ],
        [("input", TensorProto.FLOAT, ["N", 3])],
        [("score", TensorProto.FLOAT, ["N", 1])],
        [
            ("wide", wide),
            ("wider", wider),
            ("w", weights),
            ("b", np.array([0.5], dtype=np.float32)),
            ("zero", np.float32(0)),
        ],
    )


def mlp(path: Path, *, width: int = 32, hidden: tuple[int, ...] = (128, 64)) -> Path:
    """A network with one matrix input, `hidden` layers and one score."""
    rng = np.random.default_rng(7)
    nodes, initializers, last = [], [], "input"
    sizes = (width, *hidden, 1)
    for layer, (rows, columns) in enumerate(pairwise(sizes)):
        weights = rng.normal(scale=rows**-0.5, size=(rows, columns)).astype(np.float32)
        bias = rng.normal(size=columns).astype(np.float32)
        initializers += [(f"w{layer}", weights), (f"b{layer}", bias)]
        final = layer == len(sizes) - 2
        out = "score" if final else f"sum{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [out]))
        if not final:
            nodes.append(helper.make_node("Relu", [out], [f"hidden{layer}"]))
            last = f"hidden{layer}"
    return save(
        path,
        nodes,
        [("input", TensorProto.FLOAT, ["N", width])],
        [("score", TensorProto.FLOAT, ["N", 1])],
        initializers,
    )


def softmax_over_rows(path: Path) -> Path:
    """Not row-wise: softmax over the batch."""
    return save(
        path,
        [helper.make_node("Softmax", ["x"], ["score"], axis=0)],
        [("x", TensorProto.FLOAT, ["N", 1])],
        [("score", TensorProto.FLOAT, ["N", 1])],
    )


def less_the_mean(path: Path, width: int = 1) -> Path:
    """Not row-wise, but only where rows differ: less the mean of the batch."""
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["x"], ["of_row"], axes=[1], keepdims=1),
            helper.make_node("ReduceMean", ["of_row"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["of_row", "mean"], ["score"]),
        ],
        [("x", TensorProto.FLOAT, ["N", width])],
        [("score", TensorProto.FLOAT, ["N", 1])],
    )


def less_the_mean_of_many(path: Path, *, more_than: int) -> Path:
    """Not row-wise, but only in calls of many rows: less the mean of the batch, else as it came."""
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    many = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        "many",
        [],
        [value],
    )
    few = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "few", [], [value])
    return save(
        path,
        [
            helper.make_node("Size", ["x"], ["rows"]),
            helper.make_node("Greater", ["rows", "most"], ["are_many"]),
            helper.make_node("If", ["are_many"], ["score"], then_branch=many, else_branch=few),
        ],
        [("x", TensorProto.FLOAT, ["N"])],
        [("score", TensorProto.FLOAT, ["N"])],
        [("most", np.int64(more_than))],
    )


def random(path: Path) -> Path:
    """Other scores each time: a random number more than the column."""
    return save(
        path,
        [
            helper.make_node("RandomNormalLike", ["x"], ["noise"]),
            helper.make_node("Add", ["x", "noise"], ["score"]),
        ],
        [("x", TensorProto.FLOAT, ["N"])],
        [("score", TensorProto.FLOAT, ["N"])],
    )


def squeezed(path: Path, *, batch: int | str = "N", width: int = 1, declared=None) -> Path:
    """Twice the input [N, width] without dimensions of one: a single row has lost its dimension."""
    return save(
        path,
        [
            helper.make_node("Add", ["x", "x"], ["doubled"]),
            helper.make_node("Squeeze", ["doubled"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [batch, width])],
        [("y", TensorProto.FLOAT, declared)],
    )


def compress(path: Path) -> Path:
    """Not row-wise: returns only the rows that are greater than zero."""
    return save(
        path,
        [
            helper.make_node("Greater", ["x", "zero"], ["positive"]),
            helper.make_node("Compress", ["x", "positive"], ["score"], axis=0),
        ],
        [("x", TensorProto.FLOAT, ["N"])],
        [("score", TensorProto.FLOAT, [None])],
        [("zero", np.float32(0))],
    )


def divide(path: Path) -> Path:
    """int64 quotient a / b. INT64_MIN / -1 and x / 0 end the process with SIGFPE."""
    return save(
        path,
        [helper.make_node("Div", ["a", "b"], ["quotient"])],
        [("a", TensorProto.INT64, ["N"]), ("b", TensorProto.INT64, ["N"])],
        [("quotient", TensorProto.INT64, ["N"])],
    )


def loop(path: Path) -> Path:
    """Adds 1 as often as the largest `count` of the batch says (so: hangs on huge ones), then 0.

    The result is `2 * count` for every row, whatever the loop did.
    """
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_out"]),
            helper.make_node("Add", ["sum", "one"], ["sum_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.INT64, []),
        ],
        [numpy_helper.from_array(np.int64(1), "one")],
    )
    return save(
        path,
        [
            helper.make_node("ReduceMax", ["count"], ["times"], keepdims=0),
            helper.make_node("Loop", ["times", "yes", "zero"], ["turns"], body=body),
            helper.make_node("Mul", ["turns", "zero"], ["nothing"]),
            helper.make_node("Add", ["count", "count"], ["double"]),
            helper.make_node("Add", ["double", "nothing"], ["result"]),
        ],
        [("count", TensorProto.INT64, ["N"])],
        [("result", TensorProto.INT64, ["N"])],
        [("yes", np.bool_(1)), ("zero", np.int64(0))],
    )


def allocate(path: Path) -> Path:
    """Fills a tensor of the largest `size` of the batch, so that huge ones exhaust the memory.

    The result is `2 * size` for every row.
    """
    return save(
        path,
        [
            helper.make_node("ReduceMax", ["size"], ["largest"], keepdims=1),
            helper.make_node("ConstantOfShape", ["largest"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["nothing"], keepdims=0),
            helper.make_node("Cast", ["nothing"], ["none"], to=TensorProto.INT64),
            helper.make_node("Add", ["size", "size"], ["double"]),
            helper.make_node("Add", ["double", "none"], ["result"]),
        ],
        [("size", TensorProto.INT64, ["N"])],
        [("result", TensorProto.INT64, ["N"])],
    )


def wide(path: Path) -> Path:
    """e**x times 100,000, by as many columns: each row of a call takes 0.8 MB."""
    return save(
        path,
        [
            helper.make_node("Unsqueeze", ["x", "axis"], ["column"]),
            helper.make_node("Add", ["column", "zeros"], ["row"]),
            helper.make_node("Exp", ["row"], ["powers"]),
            helper.make_node("ReduceSum", ["powers", "axis"], ["sum"], keepdims=0),
        ],
        [("x", TensorProto.FLOAT, ["N"])],
        [("sum", TensorProto.FLOAT, ["N"])],
        [("zeros", np.zeros((1, 100_000), np.float32)), ("axis", np.array([1]))],
    )


def gather(path: Path, *, size: int = 3) -> Path:
    """Looks `index` up in a table of `size` values (10, 20, ...); others raise in the model."""
    table = np.arange(1, size + 1, dtype=np.float32) * 10
    return save(
        path,
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        [("index", TensorProto.INT64, ["N"])],
        [("value", TensorProto.FLOAT, ["N"])],
        [("table", table)],
    )


def identity(path: Path, element: int, shape=("N",), *, declared=None, names=("x", "y")) -> Path:
    """y = x."""
    return save(
        path,
        [helper.make_node("Identity", [names[0]], [names[1]])],
        [(names[0], element, list(shape))],
        [(names[1], element, list(shape if declared is None else declared))],
    )


def one_input_a_column(path: Path, elements: dict[str, int]) -> Path:
    """Identity of several [N, 1] inputs, as skl2onnx exports pipelines, to `<name>_out`."""
    return save(
        path,
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in elements],
        [(name, element, ["N", 1]) for name, element in elements.items()],
        [(f"{name}_out", element, ["N", 1]) for name, element in elements.items()],
    )


def zipmap(path: Path, *, labels: tuple[str, ...] | tuple[int, ...] = ("no", "yes")) -> Path:
    """A classifier over [N, k] that answers with a sequence of maps, k = number of labels."""
    key = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_int64s"
    key_type = TensorProto.STRING if isinstance(labels[0], str) else TensorProto.INT64
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"], axis=1),
        helper.make_node(
            "ZipMap", ["p"], ["probability"], domain="ai.onnx.ml", **{key: list(labels)}
        ),
    ]
    probability = helper.make_value_info(
        "probability",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(
                key_type, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
            )
        ),
    )
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", len(labels)])],
        [probability],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=IR_VERSION,
    )
    onnx.save(model, path)
    return path


def custom_operator(path: Path, *, domain: str = "acme.ops", name: str = "Magic") -> Path:
    """A model that needs a custom operator."""
    return save(
        path,
        [helper.make_node(name, ["x"], ["y"], domain=domain)],
        [("x", TensorProto.FLOAT, ["N"])],
        [("y", TensorProto.FLOAT, ["N"])],
        opsets=[domain] if domain else [],
    )


def with_external_data(path: Path, *, file: str = "weights.bin") -> Path:
    """The linear model with its weights in another file beside it."""
    linear(path, width=300)
    model = onnx.load(path)
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=file,
        size_threshold=0,
    )
    return path
