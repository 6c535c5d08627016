"""gzip and zstd text that is damaged: every row before the damage, and one record for the rest."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

import pyarrow as pa
import pytest

from batch_inference_api.choices import DataFormat
from testkit.datasets import Dataset, pinned, rejected, rows_of, write_text

RANDOM = random.Random(5)
SMALL = "".join(f'{{"id": {i}, "x": {RANDOM.random()}}}\n' for i in range(1000)).encode()
LARGE = "".join(f'{{"id": {i}, "x": {RANDOM.random()}}}\n' for i in range(100_000)).encode()
ZSTD_BLOCK_BYTES = 128 * 1024


def zstd(text: bytes) -> bytes:
    return bytes(pa.compress(text, "zstd"))


def with_flipped_byte(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]


@pytest.fixture
def read(tmp_path) -> Callable[[bytes], tuple[list[int], list[tuple[int, str]]]]:
    """Read one file beside a good one, so that it is planned whatever it holds."""

    def _read(body: bytes) -> tuple[list[int], list[tuple[int, str]]]:
        files = (write_text(tmp_path / "a", body), write_text(tmp_path / "b", '{"id": -1}\n'))
        chunks = Dataset(tuple(map(pinned, files)), DataFormat.JSON_LINES).read()
        return [row["id"] for row in rows_of(chunks)][:-1], rejected(chunks)

    return _read


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
@pytest.mark.parametrize("text", [SMALL, LARGE], ids=["a small file", "a large file"])
def test_every_row_before_garbage_behind_the_stream_is_kept(read, compress, text):
    rows = text.count(b"\n")
    assert read(compress(text) + b"garbage") == (
        list(range(rows)),
        [(len(text), "TruncatedInput")],
    )


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_frames_before_a_truncated_one_are_kept(read, compress):
    ids, lost = read(compress(SMALL) + compress(LARGE) + compress(SMALL)[:-9])
    assert ids[:101_000] == [*range(1000), *range(100_000)]
    assert ids[101_000:] == list(range(len(ids) - 101_000))
    assert [error for _, error in lost] == ["TruncatedInput"]
    assert lost[0][0] >= len(SMALL) + len(LARGE)


def test_every_zstd_block_before_a_damaged_one_is_kept(read):
    """Each is at most 128 KiB of text."""
    body = zstd(LARGE)
    ids, lost = read(with_flipped_byte(body, len(body) - 100))
    blocks = len(LARGE) // ZSTD_BLOCK_BYTES
    kept = LARGE[: blocks * ZSTD_BLOCK_BYTES].count(b"\n")
    assert ids == list(range(kept))
    assert lost == [(LARGE.rindex(b"\n", 0, blocks * ZSTD_BLOCK_BYTES) + 1, "TruncatedInput")]


def test_every_gzip_row_before_a_damage_is_kept(read):
    """The checksum is in the last eight bytes: all text was there before it."""
    ids, lost = read(with_flipped_byte(gzip.compress(SMALL), -6))
    assert (ids, lost) == (list(range(1000)), [(len(SMALL), "TruncatedInput")])
