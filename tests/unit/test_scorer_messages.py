"""What driver and scorer say to each other survives the wire."""

from __future__ import annotations

import json
import socket

import pytest

from batch_inference_runner.plan.plan import FileInventory, InputFile, Piece, Shard, Unit
from batch_inference_runner.score import messages
from batch_inference_runner.score.messages import (
    Assignment,
    Beat,
    FailureKind,
    FirstRow,
    Open,
    Prepare,
    Prepared,
    Ready,
    Refused,
    Score,
    ShardFailed,
    Staged,
    Started,
    Unreachable,
    Withdraw,
    Withdrawn,
    decode,
    encode,
)

FILE = InputFile("file:///data/a.parquet", 10, "1", 0, (("dt", "2026-01-01"),))
SHARD = Shard(3, (Piece(0, 1, 2, 100, 50), Piece(1, 0, 4096)))
EVERY_MESSAGE = [
    Prepare("{}", (FILE,), 1 << 30, probe=False),
    Open("{}", {"a": 1}, (FILE,), "ab" * 32, 2, 1 << 30),
    Score((Assignment(SHARD, "a1", isolated=True), Assignment(SHARD, "a2", given_up="why"))),
    Withdraw(3),
    Prepared({"x": [1]}, (FileInventory((Unit(0, 1, 100, 7), Unit(1, 2, 5))),)),
    Ready("sha256:0", "CPUExecutionProvider", 1024),
    Refused("SchemaMismatch", "column 'a'", invalid=True),
    Unreachable("timeout"),
    Started(4),
    FirstRow(1.5),
    Beat({3: 100}, (3,), 1.25),
    Staged({"shard": 3}),
    ShardFailed(3, "a1", FailureKind.STORE, None, "timeout"),
    Withdrawn((5, 4)),
]


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda m: type(m).__name__)
def test_a_message_is_read_as_it_was_written(message):
    found = decode(encode(message))
    assert (type(found), found) == (type(message), message)


def test_every_message_is_tested():
    assert {type(each).__name__ for each in EVERY_MESSAGE} == set(messages._DECODERS)


def test_messages_arrive_whole_and_in_order():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for message in EVERY_MESSAGE:
            messages.send(ours, message)
        assert [messages.receive(theirs) for _ in EVERY_MESSAGE] == EVERY_MESSAGE


def test_the_end_of_the_connection_reads_as_nothing():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\x00\x00\x00\x10trunc")
        ours.close()
        assert messages.receive(theirs) is None


@pytest.mark.parametrize(
    "frame",
    [b"", b"[]", b"{}", b'{"type":"Nonsense"}', b'{"type":"Ready"}', b"\xff\xfe", b"null"],
)
def test_what_is_not_a_message_is_a_value_error(frame):
    with pytest.raises(ValueError):
        decode(frame)


def test_frames_are_json_without_anything_executable():
    assert json.loads(encode(Withdraw(1))) == {"type": "Withdraw", "most": 1}
