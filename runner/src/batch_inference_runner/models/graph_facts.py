"""What an ONNX file contains that matters for safety, read without loading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batch_inference_runner.models.onnx_wire import NotOnnx, walk
from batch_inference_runner.models.quantizer_scales import QUANTIZERS, find_computed_scales

if TYPE_CHECKING:
    import mmap

_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "Opset", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {1: "=function", 7: "Node", 9: "Opset", 10: "=domain", 11: "Attribute"},
    "Node": {4: "=op", 5: "Attribute", 7: "=domain"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Entry": {1: "=key", 2: "=value"},
    "Opset": {},
}


class GraphFacts(NamedTuple):
    """Operators as (domain, name), functions that the model defines itself, external file names.

    `computed_scales` are the quantizers among the operators whose scale is not part of the model.
    """

    operators: frozenset[tuple[str, str]]
    functions: frozenset[tuple[str, str]]
    external_files: frozenset[str]
    computed_scales: frozenset[str] = frozenset()


def read_graph_facts(data: bytes | mmap.mmap) -> GraphFacts:
    """Read the facts from the bytes of an ONNX file.

    Raises:
        NotOnnx: the bytes are not a well-formed ONNX model.
    """
    operators: set[tuple[str, str]] = set()
    functions: set[tuple[str, str]] = set()
    files: set[str] = set()
    graphs = 0
    for message in walk(data, _FIELDS):
        graphs += message.kind == "Graph"
        if message.kind == "Node":
            operators.add((message.string("domain"), message.string("op")))
        elif message.kind == "Function":
            functions.add((message.string("domain"), message.string("function")))
        elif message.kind == "Entry" and message.string("key") == "location":
            files.add(message.string("value"))
    if not graphs:
        raise NotOnnx("it holds no graph")
    quantizes = any(name in QUANTIZERS for _, name in operators)
    return GraphFacts(
        frozenset(operators),
        frozenset(functions),
        frozenset(files),
        find_computed_scales(data) if quantizes else frozenset(),
    )
