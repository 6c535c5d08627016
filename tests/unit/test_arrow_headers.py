"""How the rows of Arrow batches are counted: what is fetched for it, and what is refused."""

from __future__ import annotations

import re
import struct

import pyarrow as pa
import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.arrow_headers import _Table, batch_rows
from batch_inference_runner.storage.object_file import coalesce
from testkit.datasets import Dataset, pinned

MIB = 1024 * 1024
BLOCK = struct.Struct("<qi4xq")


class Source:
    """A file in memory that keeps what was asked of it."""

    def __init__(self, body: bytes, *, size: int | None = None) -> None:
        self._body = memoryview(body)
        self.size = size or len(body)
        self.asked: list[list[tuple[int, int]]] = []

    def read_at(self, offset: int, length: int) -> memoryview:
        """Read the end of the file, whatever is missing before it."""
        start = offset - (self.size - len(self._body))
        return self._body[start : start + length]

    def read_ranges(self, ranges: list[tuple[int, int]]) -> list[memoryview]:
        self.asked.append(ranges)
        return [self._body[offset : offset + length] for offset, length in ranges]

    @property
    def fetched(self) -> list[int]:
        """Bytes that an object store would send for each request."""
        return [sum(length for _, length in coalesce(ranges)) for ranges in self.asked]


def file_of(*batches: int, width: int = 8, stream: bool = False) -> bytes:
    """Make a file of batches with so many rows, each of `width` bytes."""
    sink = pa.BufferOutputStream()
    schema = pa.schema([("v", pa.binary(width))])
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, schema) as writer:
        for rows in batches:
            writer.write_batch(pa.record_batch([pa.array([b"x" * width] * rows)], schema=schema))
    return sink.getvalue().to_pybytes()


def blocks_of(body: bytes, count: int) -> tuple[int, list[tuple[int, int]]]:
    """Find where the footer begins to say where the headers are, and what it says."""
    length = struct.unpack_from("<I", body, len(body) - 10)[0]
    for at in range(len(body) - 10 - length, len(body) - BLOCK.size * count):
        found = [BLOCK.unpack_from(body, at + BLOCK.size * nth)[:2] for nth in range(count)]
        if all(body[offset : offset + 4] == b"\xff" * 4 and size > 8 for offset, size in found):
            return at, found
    raise AssertionError("no batches")


def with_blocks(body: bytes, blocks: list[tuple[int, int]]) -> bytes:
    changed = bytearray(body)
    first, _ = blocks_of(body, len(blocks))
    for nth, block in enumerate(blocks):
        struct.pack_into("<qi", changed, first + BLOCK.size * nth, *block)
    return bytes(changed)


def test_headers_of_small_batches_are_fetched_a_few_megabytes_at_a_time():
    body = file_of(*[1] * 300, width=100_000)  # 30 MB, and no gap that a request would leave out
    source = Source(body)
    assert batch_rows(source) == [1] * 300
    assert len(source.fetched) >= 4
    assert max(source.fetched) <= 8 * MIB


def test_headers_that_lie_far_apart_are_fetched_at_the_same_time():
    source = Source(file_of(*[1] * 20, width=MIB))
    assert batch_rows(source) == [1] * 20
    assert len(source.asked) == 1
    assert source.fetched[0] < 10_000


def test_only_the_headers_that_are_wanted_are_looked_at():
    body = file_of(*range(1, 11))
    _, blocks = blocks_of(body, 10)
    damaged = with_blocks(body, [(-1, 8)] * 3 + blocks[3:5] + [(-1, 8)] * 5)
    source = Source(damaged)
    assert batch_rows(source, range(3, 5)) == [4, 5]
    assert source.asked == [blocks[3:5]]


def test_batches_may_be_in_any_order():
    body = file_of(1, 2, 3)
    _, blocks = blocks_of(body, 3)
    assert batch_rows(Source(with_blocks(body, blocks[::-1]))) == [3, 2, 1]


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(17 * MIB, id="huge"),
        pytest.param(12 * MIB, id="lying on each other"),
        pytest.param(-8, id="less than nothing"),
    ],
)
def test_headers_of_impossible_sizes_are_refused_before_they_are_fetched(size):
    body = file_of(1, 2, 3)
    first, _ = blocks_of(body, 3)[1][0]
    source = Source(with_blocks(body, [(first, size)] * 3), size=30 * MIB)
    with pytest.raises(pa.ArrowInvalid, match="footer"):
        batch_rows(source)
    assert sum(length for ranges in source.asked for _, length in ranges) <= source.size


def test_a_batch_that_the_footer_lacks_is_refused():
    with pytest.raises(pa.ArrowInvalid, match="footer"):
        batch_rows(Source(file_of(1, 2, 3)), range(2, 4))


def with_rows(body: bytes, rows: int, claimed: int) -> bytes:
    """Change a number of rows wherever a batch's header says it."""
    return body.replace(struct.pack("<q", rows), struct.pack("<q", claimed))


@pytest.mark.parametrize("claimed", [-5, 2**40 + 1, 2**62])
def test_a_batch_with_an_impossible_number_of_rows_is_refused(claimed):
    with pytest.raises(pa.ArrowInvalid, match="impossible number of rows"):
        batch_rows(Source(with_rows(file_of(77_777), 77_777, claimed)))


def assert_refused_by_name(path, body):
    path.write_bytes(body)
    with pytest.raises(InvalidJob, match=rf"{path.name}.*not a readable Arrow file"):
        Dataset((pinned(path),), DataFormat.ARROW).inspect()


@pytest.mark.parametrize("claimed", [-5, 2**40 + 1, 2**62])
@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_a_file_with_such_a_batch_is_refused_by_name(tmp_path, stream, claimed):
    body = with_rows(file_of(77_777, stream=stream), 77_777, claimed)
    assert_refused_by_name(tmp_path / "a.arrow", body)


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("place", [0, 1], ids=["the batch", "its column"])
def test_a_number_of_rows_that_is_said_but_once_is_refused(tmp_path, stream, place):
    body = bytearray(file_of(77_777, stream=stream))
    said = re.compile(re.escape(struct.pack("<q", 77_777)))
    struct.pack_into("<q", body, list(said.finditer(body))[place].start(), 2**36)
    assert_refused_by_name(tmp_path / "a.arrow", body)


def test_a_header_without_columns_is_refused():
    """No column then contradicts what is read as the number of rows."""
    body = bytearray(file_of(77_777))
    offset, _ = blocks_of(body, 1)[1][0]
    batch = _Table.root(memoryview(body)[offset + 8 :]).table(2)
    nodes = offset + 8 + batch._fields + 4 + 2 * 1
    batch.body.release()
    struct.pack_into("<H", body, nodes, 0)
    with pytest.raises(pa.ArrowInvalid, match="lacks a part"):
        batch_rows(Source(bytes(body)))


def test_what_is_no_record_batch_is_refused():
    body = file_of(1, 2, 3)
    blocks = blocks_of(body, 3)[1]
    schema = (8, struct.unpack_from("<I", body, 12)[0] + 8)
    with pytest.raises(pa.ArrowInvalid, match="something else"):
        batch_rows(Source(with_blocks(body, [schema, *blocks[1:]])))
