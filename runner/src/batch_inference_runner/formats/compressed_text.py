"""gzip and zstd text files: one stream, so one unit; what is before a damage is kept."""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_runner.formats.foreign_file import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batch_inference_runner.formats.foreign_file import ForeignFile

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Frames without content, with which pzstd begins: one of 16 first bytes before these (RFC 8878).
_SKIPPABLE_FIRST = range(0x50, 0x60)
_SKIPPABLE_REST = b"\x2a\x4d\x18"
# What a decoder takes without being told that it may take more memory.
MOST_ZSTD_WINDOW_BYTES = 128 * 1024 * 1024
_SUFFIXES = {".gz": GZIP_MAGIC, ".zst": ZSTD_MAGIC, ".zstd": ZSTD_MAGIC}
_GZIP_WRAPPER = 31
_MOST_INFLATED_BYTES = 4 * 1024 * 1024
_ZSTD_STEP_BYTES = 64 * 1024


class TruncatedInput(Exception):
    """The compressed stream is damaged, or ends before it should."""


def compression_of(head: bytes) -> str | None:
    """Name the compression that a file starts with: gzip, zstd or None."""
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    return "zstd" if head.startswith(ZSTD_MAGIC) or _is_skippable(head) else None


def _is_skippable(head: bytes) -> bool:
    return head[1:4] == _SKIPPABLE_REST and head[0] in _SKIPPABLE_FIRST


def zstd_window_bytes(head: bytes) -> int:
    """Tell how far the first frame of a file may refer back: 0 where there is none.

    https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1
    """
    if not head.startswith(ZSTD_MAGIC):
        return 0
    descriptor = int.from_bytes(head[4:5])
    is_single_segment = descriptor & 0x20
    if not is_single_segment:
        exponent, eighths = divmod(int.from_bytes(head[5:6]), 8)
        return (1 << 10 + exponent) * (8 + eighths) // 8
    # The window is as long as the text, whose length follows the number of the dictionary.
    start = 5 + (0, 1, 2, 4)[descriptor & 0b11]
    return int.from_bytes(head[start : start + (1 << (descriptor >> 6))], "little")


def promises_compression(uri: str) -> bool:
    """Whether the file's name says that it is compressed."""
    return uri.endswith(tuple(_SUFFIXES))


def decompressed(foreign: ForeignFile, parts: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Decompress a file, given as consecutive `parts`; several members or frames are one text.

    Raises TruncatedInput once everything before the damage was given out.
    """
    if compression == "gzip":
        return _inflated(parts)
    return _unpacked_zstd(foreign)


def _inflated(parts: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WRAPPER)
    for part in parts:
        data = part
        while data:
            if member.eof:
                data = data.lstrip(b"\0")  # padding between members, as gzip itself allows
                if not data:
                    break
                member = zlib.decompressobj(_GZIP_WRAPPER)
            before = member.copy()
            try:
                text = member.decompress(data, _MOST_INFLATED_BYTES)
            except zlib.error as error:
                yield _inflated_until_damage(before, data)
                raise TruncatedInput from error
            yield text
            data = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise TruncatedInput


def _inflated_until_damage(member: zlib._Decompress, data: bytes) -> bytes:
    text = io.BytesIO()
    with suppress(zlib.error):
        for place in range(len(data)):
            text.write(member.decompress(data[place : place + 1]))
    return text.getvalue()


def _unpacked_zstd(foreign: ForeignFile) -> Iterator[bytes]:
    compressed = _Compressed(foreign)
    stream = pa.CompressedInputStream(pa.PythonFile(compressed, "r"), "zstd")
    given = 0
    while True:
        try:
            text = stream.read(_ZSTD_STEP_BYTES)
        except MemoryError:
            raise
        except DECODE_ERRORS as error:
            foreign.raise_failed_fetch()
            yield _unpacked_until_damage(foreign, given, slow_from=compressed.last_start)
            raise TruncatedInput from error
        if not text:
            return
        given += len(text)
        yield text


def _unpacked_until_damage(foreign: ForeignFile, given: int, *, slow_from: int) -> bytes:
    """Unpack once more what a failing read of pyarrow's stream kept to itself.

    It gives nothing of what it has decoded: neither of the text that was asked for, nor of the
    compressed bytes at hand. So both are read as single bytes, the latter from `slow_from` on.
    """
    compressed = _Compressed(foreign, slow_from)
    stream = pa.CompressedInputStream(pa.PythonFile(compressed, "r"), "zstd")
    for start in range(0, given, _ZSTD_STEP_BYTES):
        stream.read(min(_ZSTD_STEP_BYTES, given - start))
    text = io.BytesIO()
    try:
        while byte := stream.read(1):
            text.write(byte)
    except MemoryError:
        raise
    except DECODE_ERRORS:
        foreign.raise_failed_fetch()
    return text.getvalue()


class _Compressed(io.RawIOBase):
    """A file from its beginning, for pa.PythonFile, which closes it; `foreign` stays open.

    From `slow_from` on it gives single bytes. `last_start` is where the last read began.
    """

    def __init__(self, foreign: ForeignFile, slow_from: int | None = None) -> None:
        super().__init__()
        self.last_start = 0
        self._stream = foreign.arrow.get_stream(0, foreign.size)
        self._position = 0
        self._slow_from = foreign.size if slow_from is None else slow_from

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> pa.Buffer:
        body = self._stream.read_buffer(max(1, min(size, self._slow_from - self._position)))
        if body.size:
            self.last_start = self._position
        self._position += body.size
        return body
