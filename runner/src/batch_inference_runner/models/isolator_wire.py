"""Messages between a scorer and its isolator process: a JSON header, then arrays.

No pickle: the other side runs code of the model. Standard library and numpy only.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_LENGTHS = struct.Struct("<IQ")
PREFIX_BYTES = _LENGTHS.size


_MIN_SECONDS = 2.0
_FAIR_SHARES = 4


def call_limit_seconds(call_seconds: float, *, rows: int, batch_size: int) -> float:
    """Return how long a call of `rows` rows may take if a full one may take `call_seconds`.

    Four times its share, but at least 2 s, and never more than a whole call: so that many rows that
    hang end in bounded time, and slow ones are not taken for hanging.
    """
    share = _FAIR_SHARES * call_seconds * rows / batch_size
    return min(call_seconds, max(_MIN_SECONDS, share))


class Closed(Exception):
    """The other side is gone."""


def encode(header: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> list[bytes]:
    """Return the parts of one message, to be sent in order."""
    described: list[list[Any]] = []
    bodies: list[bytes] = []
    for name, array in (arrays or {}).items():
        if array.dtype == object:
            entries = [
                [list(item) for item in entry.items()] if isinstance(entry, dict) else entry
                for entry in array.reshape(-1).tolist()
            ]
            bodies.append(json.dumps(entries).encode())
            described.append([name, "json", array.shape, len(bodies[-1])])
        else:
            bodies.append(np.ascontiguousarray(array).tobytes())
            described.append([name, array.dtype.str, array.shape, len(bodies[-1])])
    head = json.dumps({**header, "arrays": described}).encode()
    return [_LENGTHS.pack(len(head), sum(map(len, bodies))), head, *bodies]


def message_bytes(prefix: bytes | bytearray | memoryview) -> int:
    """Return how long the message is that starts with `prefix`, the prefix included."""
    head, body = _LENGTHS.unpack(prefix[:PREFIX_BYTES])
    return int(PREFIX_BYTES + head + body)


def decode(message: bytes | bytearray) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return header and arrays of one whole message."""
    length, _ = _LENGTHS.unpack(message[:PREFIX_BYTES])
    position = PREFIX_BYTES + length
    header = json.loads(message[PREFIX_BYTES:position])
    arrays = {}
    for name, dtype, shape, size in header.pop("arrays"):
        body = memoryview(message)[position : position + size]
        arrays[name] = _array(body, dtype, tuple(shape))
        position += size
    return header, arrays


def send(
    connection: socket.socket, header: Mapping[str, Any], arrays: Mapping[str, Array] | None = None
) -> None:
    """Send one message; raises Closed."""
    try:
        for part in encode(header, arrays):
            connection.sendall(part)
    except OSError as error:
        raise Closed from error


def receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, Array]]:
    """Receive one message; raises Closed."""
    prefix = _exactly(connection, PREFIX_BYTES)
    return decode(prefix + _exactly(connection, message_bytes(prefix) - PREFIX_BYTES))


def _exactly(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        try:
            count = connection.recv_into(view[done:])
        except OSError as error:
            raise Closed from error
        if count == 0:
            raise Closed
        done += count
    return data


def _array(body: memoryview, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype != "json":
        return np.frombuffer(body, dtype=np.dtype(dtype)).reshape(shape)
    entries = json.loads(bytes(body))
    array = np.empty(len(entries), dtype=object)
    for position, entry in enumerate(entries):
        array[position] = dict(entry) if isinstance(entry, list) else entry
    return array.reshape(shape)
