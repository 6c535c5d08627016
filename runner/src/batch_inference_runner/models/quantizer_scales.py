"""Where quantizers take their scales from: out of the model, or out of the rows of a batch."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from batch_inference_runner.models.onnx_wire import walk

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable

    Function = tuple[str, str]  # domain and name
    Value = tuple[int, str]  # part of the model, and the name in it

QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""What these give depends on more than on their inputs: on whatever their graphs refer to."""

_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Initializer", 15: "SparseInitializer"},
    "Function": {1: "=function", 4: "=input", 7: "Node", 10: "=domain"},
    "Node": {1: "=input", 2: "=output", 4: "=op", 5: "Attribute", 7: "=domain"},
    "Attribute": {6: "Graph", 11: "Graph"},
    "SparseInitializer": {1: "Initializer"},
    "Initializer": {8: "=name"},
}


def find_computed_scales(data: bytes | mmap.mmap) -> frozenset[str]:
    """Return the operators of which one takes its scale, or its zero point, from what it is fed.

    Fixed are initializers, constants, and what is computed of such only. Beyond control flow nobody
    looks: what comes from there counts as computed.

    Raises:
        NotOnnx: the bytes are not a well-formed ONNX model.
    """
    graph = _Graph(data)
    scales: dict[str, list[Value]] = defaultdict(list)
    for node in graph.nodes:
        if node.op in QUANTIZERS and node.function not in graph.functions:
            scales[node.op] += node.values(node.inputs[1:])
    return frozenset(name for name, values in scales.items() if not graph.are_fixed(values))


class _Node(NamedTuple):
    part: int
    domain: str
    op: str
    inputs: list[str]
    outputs: list[str]

    @property
    def function(self) -> Function:
        return self.domain, self.op

    def values(self, names: Iterable[str]) -> list[Value]:
        return [(self.part, name) for name in names if name]  # an input left out has no name


class _Graph:
    """Which nodes make each value, in the main graph and in every function.

    Graphs inside nodes share the names of the graph around them. Where two of them use a name for
    different values, it counts as both.
    """

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.nodes: list[_Node] = []
        self.functions: set[Function] = set()
        self._initializers: set[Value] = set()
        self._parameters: dict[Value, tuple[Function, int]] = {}
        self._makers: dict[Value, list[_Node]] = defaultdict(list)
        self._calls: dict[Function, list[_Node]] = defaultdict(list)
        for kind, part, strings in walk(data, _FIELDS):
            names = {name: texts[-1] for name, texts in strings.items()}
            domain = names.get("domain", "")
            inputs = strings.get("input", [])
            if kind == "Initializer":
                self._initializers.add((part, names.get("name", "")))
            elif kind == "Node":
                outputs = strings.get("output", [])
                self.nodes.append(_Node(part, domain, names.get("op", ""), inputs, outputs))
            elif kind == "Function":
                function = (domain, names.get("function", ""))
                self.functions.add(function)
                for place, name in enumerate(inputs):
                    self._parameters[part, name] = (function, place)
        for node in self.nodes:
            if node.function in self.functions:
                self._calls[node.function].append(node)
            for value in node.values(node.outputs):
                self._makers[value].append(node)

    def are_fixed(self, values: Iterable[Value]) -> bool:
        """Say if none of the values depends on what the model is fed."""
        pending = list(values)
        seen = set(pending)
        while pending:
            sources = self._sources(pending.pop())
            if sources is None:
                return False
            unseen = set(sources) - seen
            seen |= unseen
            pending += unseen
        return True

    def _sources(self, value: Value) -> list[Value] | None:
        """Return what a value is made of, None if that comes from outside or cannot be told."""
        if value in self._parameters:
            function, place = self._parameters[value]
            calls = self._calls[function]
            return [source for call in calls for source in call.values(call.inputs[place:][:1])]
        makers = self._makers.get(value, [])
        if not makers:
            return [] if value in self._initializers else None
        if any(maker.op in _CONTROL_FLOW for maker in makers):
            return None
        return [source for maker in makers for source in maker.values(maker.inputs)]
