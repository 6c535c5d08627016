"""Walks the messages of an ONNX file without loading it.

Along the fields of onnx.proto that a caller asks for, in protobuf's wire format
(https://protobuf.dev/programming-guides/encoding/). Hostile bytes are expected: no recursion, every
step moves forward, every length is checked, and whatever is odd raises.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator, Mapping

    Fields = Mapping[str, Mapping[int, str]]
    """Message -> field number -> message inside, or `=` and the name of a string to keep."""

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


class Message(NamedTuple):
    """A message and its strings by name, in order.

    `part` tells the main graph and the functions of a model from each other: messages of one part
    lie in the same of them, however deep.
    """

    kind: str
    part: int
    strings: dict[str, list[str]]

    def string(self, name: str) -> str:
        """Return a string of which the last one counts, empty if there is none."""
        return self.strings.get(name, [""])[-1]


def walk(data: bytes | mmap.mmap, fields: Fields) -> Iterator[Message]:
    """Give every message that `fields` lead to from the Model, which comes first.

    Raises:
        NotOnnx: the bytes are not well-formed.
    """
    pending: list[tuple[str, int, int, int, int]] = [("Model", 0, len(data), 0, 0)]
    while pending:
        kind, start, stop, depth, part = pending.pop()
        if depth > _MAX_DEPTH:
            raise NotOnnx("graphs are nested too deeply")
        strings, inner = _read_message(data, fields, kind, start, stop)
        yield Message(kind, part, strings)
        for name, first, last in inner:
            pending.append((name, first, last, depth + 1, part if depth else first))


def _read_message(
    data: bytes | mmap.mmap, fields: Fields, kind: str, start: int, stop: int
) -> tuple[dict[str, list[str]], list[tuple[str, int, int]]]:
    """Return the strings and the inner messages of one message."""
    wanted = fields[kind]
    runs = _RUNS.get(kind)
    strings: dict[str, list[str]] = {}
    inner: list[tuple[str, int, int]] = []
    position = start
    while position < stop:
        if runs is not None and (run := runs.match(data, position, stop)):
            position = run.end()
            continue
        tag, position = _varint(data, position, stop)
        target = wanted.get(tag >> 3)
        wire = tag & 7
        if wire != 2:
            position = _skipped(data, wire, position, stop)
            continue
        length, position = _varint(data, position, stop)
        end = position + length
        if end > stop:
            raise NotOnnx("a field is longer than what holds it")
        if target is not None and target.startswith("="):
            strings.setdefault(target[1:], []).append(_string(data, position, end))
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
