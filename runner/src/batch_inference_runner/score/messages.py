"""What driver and scorer say to each other: frozen values, framed as JSON over a socket.

A frame is a 4-byte big-endian length and that many bytes of UTF-8 JSON, so that a scorer whose
memory was corrupted by native code can at worst send a message that does not parse. Standard
library only: the driver starts a scorer before it imports anything else. Named tuples, because both
import them before the first row: a frozen dataclass takes 1 ms to define, a named tuple a quarter.
"""

from __future__ import annotations

import json
import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_inference_runner.plan.plan import FileInventory, InputFile, Piece, Shard, Unit

if TYPE_CHECKING:
    import socket

OUT_OF_MEMORY = 5
"""Exit status of a scorer that has too little memory even to say so."""

_LENGTH = struct.Struct(">I")


class FailureKind(StrEnum):
    """Why an attempt at a shard ended without a result."""

    JOB = "Job"
    """The job cannot succeed; `reason` says why."""
    STORE = "Store"
    """A store could not be reached: nobody's fault, try again."""
    LOST = "Lost"
    """A process that worked on it was lost, as if the scorer had been killed."""
    MEMORY = "Memory"
    """An allocation failed, in memory that other shards used at the same time."""
    SHARD = "Shard"
    """Something about this shard: charged to it."""


class Prepare(NamedTuple):
    """Inspect the files and check that model, SQL and columns fit. Answer: Prepared or Refused.

    `probe`: let the model score a few real rows, to see that it is row-wise and how fast it is.
    """

    config: str
    files: tuple[InputFile, ...]
    memory_bytes: int
    probe: bool = True


class Open(NamedTuple):
    """Get ready to score shards of this plan. Answer: Ready or Refused."""

    config: str
    details: dict[str, Any]
    files: tuple[InputFile, ...]
    work: str
    threads: int
    memory_bytes: int


class Assignment(NamedTuple):
    """One attempt at one shard.

    `isolated`: run the model where a crash hits one row only. `frugal`: one slice at a time, while
    nothing else is in work, so that rows which need more memory than there is are rejected.
    `given_up`: do not read the shard any more but reject all of its rows, for this reason.
    """

    shard: Shard
    attempt: str
    isolated: bool = False
    frugal: bool = False
    given_up: str | None = None


class Score(NamedTuple):
    """Score these shards, in this order, after those already given."""

    assignments: tuple[Assignment, ...]


class Withdraw(NamedTuple):
    """Give back up to `most` shards that were not started, last first. Answer: Withdrawn."""

    most: int


class Prepared(NamedTuple):
    """What inspection found: `details` for the plan, and the units of each file."""

    details: dict[str, Any]
    inventories: tuple[FileInventory, ...]


class Ready(NamedTuple):
    """The model is loaded."""

    digest: str
    provider: str
    batch_size: int


class Refused(NamedTuple):
    """The job cannot run as it is. `invalid`: found while planning."""

    reason: str
    message: str
    invalid: bool


class Unreachable(NamedTuple):
    """A store could not be reached while preparing, or refused for this reason."""

    message: str
    reason: str | None = None


class Started(NamedTuple):
    """Work on a shard has begun."""

    shard: int


class FirstRow(NamedTuple):
    """The first rows have scores; `at` is CLOCK_MONOTONIC in seconds."""

    at: float


class Beat(NamedTuple):
    """Sent several times a second for as long as the process lives.

    `rows`: rows scored so far of each active shard. `stalled`: shards whose present slice has been
    in work for longer than the batch timeout, or that compute for ever while they are read or
    written. `cpu_seconds`: used by the scorer so far.
    """

    rows: dict[int, int]
    stalled: tuple[int, ...]
    cpu_seconds: float


class Staged(NamedTuple):
    """A shard is scored and its files are staged; `staged` is a commit.StagedShard as JSON."""

    staged: dict[str, Any]


class ShardFailed(NamedTuple):
    """An attempt ended without a result."""

    shard: int
    attempt: str
    kind: FailureKind
    reason: str | None
    message: str


class Withdrawn(NamedTuple):
    """Shards that were given back."""

    shards: tuple[int, ...]


Message = (
    Prepare
    | Open
    | Score
    | Withdraw
    | Prepared
    | Ready
    | Refused
    | Unreachable
    | Started
    | FirstRow
    | Beat
    | Staged
    | ShardFailed
    | Withdrawn
)
"""Everything that is sent."""


def encode(message: Message) -> bytes:
    """Make the JSON of a message, without its frame."""
    fields = {**message._asdict(), "type": type(message).__name__}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(frame: bytes) -> Message:
    """Read a message.

    Raises:
        ValueError: the bytes are not a message.
    """
    fields = json.loads(frame)
    try:
        kind = fields.pop("type")
        message: Message = _DECODERS[kind](fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a message: {error!r}") from error
    return message


def send(connection: socket.socket, message: Message) -> None:
    """Send one message; the caller sees to it that only one thread sends at a time."""
    body = encode(message)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> Message | None:
    """Wait for the next message; None when the other side has gone."""
    header = receive_exactly(connection, _LENGTH.size)
    if header is None:
        return None
    body = receive_exactly(connection, _LENGTH.unpack(header)[0])
    return None if body is None else decode(body)


def receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    """Wait for `size` bytes; None when the other side, or this one, has closed the connection."""
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(min(size - len(parts), 1 << 20))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)


def _files(values: list[list[Any]]) -> tuple[InputFile, ...]:
    return tuple(
        InputFile(uri, size, version, location, tuple((name, text) for name, text in pairs))
        for uri, size, version, location, pairs in values
    )


def _assignment(value: list[Any]) -> Assignment:
    (number, pieces), *others = value
    return Assignment(Shard(number, tuple(Piece(*piece) for piece in pieces)), *others)


def _inventory(value: list[list[Any]]) -> FileInventory:
    (units,) = value
    return FileInventory(tuple(Unit(*unit) for unit in units))


_DECODERS: dict[str, Any] = {
    "Prepare": lambda v: Prepare(**{**v, "files": _files(v["files"])}),
    "Open": lambda v: Open(**{**v, "files": _files(v["files"])}),
    "Score": lambda v: Score(tuple(map(_assignment, v["assignments"]))),
    "Withdraw": lambda v: Withdraw(**v),
    "Prepared": lambda v: Prepared(v["details"], tuple(map(_inventory, v["inventories"]))),
    "Ready": lambda v: Ready(**v),
    "Refused": lambda v: Refused(**v),
    "Unreachable": lambda v: Unreachable(**v),
    "Started": lambda v: Started(**v),
    "FirstRow": lambda v: FirstRow(**v),
    "Beat": lambda v: Beat(
        {int(shard): rows for shard, rows in v["rows"].items()},
        tuple(v["stalled"]),
        v["cpu_seconds"],
    ),
    "Staged": lambda v: Staged(**v),
    "ShardFailed": lambda v: ShardFailed(**{**v, "kind": FailureKind(v["kind"])}),
    "Withdrawn": lambda v: Withdrawn(tuple(v["shards"])),
}
