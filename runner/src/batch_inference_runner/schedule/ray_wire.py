"""Frames between the driver and its Ray bridge: a kind, the number of a scorer, bytes.

No imports beyond the standard library, directly or not.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from batch_inference_runner.score.messages import receive_exactly

if TYPE_CHECKING:
    import socket
    from threading import Lock

_HEADER = struct.Struct(">BII")


class Kind(IntEnum):
    """What a frame says; what its body is."""

    SPAWN = 1
    """To the bridge: start a scorer. {"node": ..., "gpu": ...}"""
    SEND = 2
    """To the bridge: a message for a scorer."""
    END = 3
    """To the bridge: end a scorer."""
    JOINED = 4
    """To the driver: a node can take scorers. {"node", "scorers", "threads", "memoryBytes"}"""
    LOST = 5
    """To the driver: a node has gone, with all that ran on it. {"node": ...}"""
    MESSAGE = 6
    """To the driver: a message of a scorer."""
    EXITED = 7
    """To the driver: a scorer has ended. {"status": ...}"""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: Kind
    scorer: int
    body: bytes


def send_frame(connection: socket.socket, lock: Lock, frame: Frame) -> None:
    """Send one frame; raises OSError when the other side has gone."""
    data = _HEADER.pack(frame.kind, frame.scorer, len(frame.body)) + frame.body
    with lock:
        connection.sendall(data)


def receive_frame(connection: socket.socket) -> Frame | None:
    """Wait for the next frame; None when the other side has gone."""
    header = receive_exactly(connection, _HEADER.size)
    if header is None:
        return None
    kind, scorer, size = _HEADER.unpack(header)
    body = receive_exactly(connection, size)
    return None if body is None else Frame(Kind(kind), scorer, body)
