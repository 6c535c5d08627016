"""gzip and zstd text files: one stream, so one unit; what is before a damage is kept."""

from __future__ import annotations

import zlib
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
            try:
                text = member.decompress(data, _MOST_INFLATED_BYTES)
            except zlib.error as error:
                raise TruncatedInput from error
            yield text
            data = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise TruncatedInput


def _unpacked_zstd(foreign: ForeignFile) -> Iterator[bytes]:
    # A failing read of pyarrow's stream gives nothing at all, so the steps are small. It closes
    # what it reads when it is collected, so it gets a view: the file may be read once more.
    stream = pa.CompressedInputStream(foreign.arrow.get_stream(0, foreign.size), "zstd")
    while True:
        try:
            text = stream.read(_ZSTD_STEP_BYTES)
        except MemoryError:
            raise
        except DECODE_ERRORS as error:
            foreign.raise_failed_fetch()
            raise TruncatedInput from error
        if not text:
            return
        yield text
