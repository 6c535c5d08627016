"""What a model takes and gives: names, element types, shapes."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int | None, ...]

DTYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
    "string": np.dtype(object),
}
"""Element types that can be bound, by their name in ONNX Runtime."""

_TENSOR = re.compile(r"tensor\((\w+)\)")
_SEQUENCE_OF_MAPS = re.compile(r"seq\(map\((int64|string),tensor\(float\)\)\)")


class ValueSpec(NamedTuple):
    """One input or output.

    `type` is written as ONNX Runtime writes it, such as `tensor(float)`. In `shape` None is a
    symbolic dimension; the first dimension is the batch. A shape of None is unknown altogether.
    """

    name: str
    type: str
    shape: Shape | None

    @property
    def element(self) -> str | None:
        """The element type of a tensor that can be bound, else None."""
        match = _TENSOR.fullmatch(self.type)
        return match[1] if match and match[1] in DTYPES else None

    @property
    def map_key(self) -> str | None:
        """The key type of a sequence of maps (`int64` or `string`), else None."""
        match = _SEQUENCE_OF_MAPS.fullmatch(self.type)
        return match[1] if match else None

    def __str__(self) -> str:
        if self.shape is None:
            return self.type
        sizes = [str(size or "?") for size in self.shape]
        if self.shape[:1] == (None,):
            sizes[0] = "N"
        return f"{self.type}[{', '.join(sizes)}]"


class Signature(NamedTuple):
    """All inputs that must be fed, and all outputs.

    `defaults` are inputs that the model declares, but gives a value itself.
    """

    inputs: tuple[ValueSpec, ...]
    outputs: tuple[ValueSpec, ...]
    defaults: tuple[str, ...] = ()
