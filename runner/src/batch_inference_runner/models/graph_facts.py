"""What an ONNX file contains, read without loading it.

Walks protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) along the fields of
onnx.proto that matter for safety. Hostile bytes are expected: no recursion, every step moves
forward, every length is checked, and whatever is odd raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap

# Message -> field number -> message inside, or the name of a string to keep.
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
_MAX_STRING_BYTES = 4096
_MAX_DEPTH = 256

# Long runs of unpacked numbers and short strings (trees have millions) are skipped at C speed.
_RUNS: dict[str, re.Pattern[bytes]] = {
    "Attribute": re.compile(
        rb"(?:\x3d[\s\S]{4})++|(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])++|(?:"
        + b"|".join(rb"\x4a\x%02x[\s\S]{%d}" % (size, size) for size in range(33))
        + rb")++"
    ),
}


class NotOnnx(Exception):
    """The bytes are not an ONNX model."""


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """Operators as (domain, name), functions that the model defines itself, external file names."""

    operators: frozenset[tuple[str, str]]
    functions: frozenset[tuple[str, str]]
    external_files: frozenset[str]


def read_graph_facts(data: bytes | mmap.mmap) -> GraphFacts:
    """Read the facts from the bytes of an ONNX file.

    Raises:
        NotOnnx: the bytes are not a well-formed ONNX model.
    """
    operators: set[tuple[str, str]] = set()
    functions: set[tuple[str, str]] = set()
    files: set[str] = set()
    pending: list[tuple[str, int, int, int]] = [("Model", 0, len(data), 0)]
    graphs = 0
    while pending:
        message, start, stop, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise NotOnnx("graphs are nested too deeply")
        strings, inner = _read_message(data, message, start, stop)
        graphs += message == "Graph"
        if message == "Node":
            operators.add((strings.get("domain", ""), strings.get("op", "")))
        elif message == "Function":
            functions.add((strings.get("domain", ""), strings.get("function", "")))
        elif message == "Entry" and strings.get("key") == "location":
            files.add(strings.get("value", ""))
        pending.extend((name, first, last, depth + 1) for name, first, last in inner)
    if not graphs:
        raise NotOnnx("it holds no graph")
    return GraphFacts(frozenset(operators), frozenset(functions), frozenset(files))


def _read_message(
    data: bytes | mmap.mmap, message: str, start: int, stop: int
) -> tuple[dict[str, str], list[tuple[str, int, int]]]:
    """Return the strings and the inner messages of one message."""
    fields = _FIELDS[message]
    runs = _RUNS.get(message)
    strings: dict[str, str] = {}
    inner: list[tuple[str, int, int]] = []
    position = start
    while position < stop:
        if runs is not None and (run := runs.match(data, position, stop)):
            position = run.end()
            continue
        tag, position = _varint(data, position, stop)
        target = fields.get(tag >> 3)
        wire = tag & 7
        if wire != 2:
            position = _skipped(data, wire, position, stop)
            continue
        length, position = _varint(data, position, stop)
        end = position + length
        if end > stop:
            raise NotOnnx("a field is longer than what holds it")
        if target is not None and target.startswith("="):
            strings[target[1:]] = _string(data, position, end)
        elif target is not None:
            inner.append((target, position, end))
        position = end
    return strings, inner


def _skipped(data: bytes | mmap.mmap, wire: int, position: int, stop: int) -> int:
    if wire == 0:
        return _varint(data, position, stop)[1]
    position += {1: 8, 5: 4}.get(wire, stop)
    if position > stop:
        raise NotOnnx("a field is cut off, or of an unknown kind")
    return position


def _varint(data: bytes | mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= stop:
            raise NotOnnx("it ends in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise NotOnnx("a number is too long")


def _string(data: bytes | mmap.mmap, start: int, stop: int) -> str:
    if stop - start > _MAX_STRING_BYTES:
        raise NotOnnx("a name is too long")
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError as error:
        raise NotOnnx("a name is not UTF-8") from error
