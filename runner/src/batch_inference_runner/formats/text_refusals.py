"""Files that are no JSON Lines or CSV as a whole: what they are instead, and what to do."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.columns import find_column
from batch_inference_runner.formats.compressed_text import (
    MOST_ZSTD_WINDOW_BYTES,
    TruncatedInput,
    compression_of,
    decompressed,
    promises_compression,
    zstd_window_bytes,
)
from batch_inference_runner.formats.foreign_file import ForeignFile
from batch_inference_runner.formats.json_lines import line_ends
from batch_inference_runner.formats.text_blocks import BOM, text_blocks
from batch_inference_runner.formats.unreadable_files import MAGIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.plan.plan import InputFile

OBJECTS_ON_LINES = "write each object on a line of its own, not in an array or over several lines"
HEAD_BYTES = 64
_THREADS = 16
_FIRST_BYTES = 64 * 1024
_ARRAY_OF_OBJECTS = re.compile(rb"""\s*\[\s*\{\s*(?:["}]|\Z)""")
_NOT_UTF8 = {b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text", b"PK\x03\x04": "a ZIP archive"}
"""What a spreadsheet program writes when it is not asked for CSV in UTF-8."""
_OTHER_COMPRESSIONS = {
    **{b"BZh%d1AY&SY" % level: "a bzip2 file" for level in range(1, 10)},
    b"\xfd7zXZ\0": "an xz file",
    b"\x04\x22\x4d\x18": "an LZ4 file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
}


def refuse_other_formats(foreign: ForeignFile, head: bytes) -> None:
    """Refuse a file that begins as another format does, or is not compressed as its name says.

    Raises InvalidJob (INPUT_CORRUPT).
    """
    for kinds, instead in (
        (_NOT_UTF8, "write it as text in UTF-8"),
        (_OTHER_COMPRESSIONS, "write it as it is, or compressed as gzip or zstd"),
        (MAGIC, "set spec.input.format to {name}"),
    ):
        for magic, name in kinds.items():
            if head.startswith(magic):
                raise InvalidJob(
                    Reason.INPUT_CORRUPT,
                    f"{foreign.file.uri!r} begins as {name} does: {instead.format(name=name)}, or "
                    "leave the file out",
                )
    if head and compression_of(head) is None and promises_compression(foreign.file.uri):
        raise InvalidJob(
            Reason.INPUT_CORRUPT,
            f"{foreign.file.uri!r} is named as a compressed file and is none; "
            "rename it, or write it again",
        )


def refuse_wide_window(foreign: ForeignFile, head: bytes) -> None:
    """Refuse a zstd file that takes more memory than decoders give, which fail as if it is damaged.

    Raises InvalidJob (INPUT_CORRUPT).
    """
    if zstd_window_bytes(head) > MOST_ZSTD_WINDOW_BYTES:
        raise InvalidJob(
            Reason.INPUT_CORRUPT,
            f"{foreign.file.uri!r} is compressed with a zstd window above 128 MiB, which cannot be "
            "read: compress it again with --long=27 or less, or leave the file out",
        )


def refuse_array(foreign: ForeignFile, head: bytes) -> None:
    """Refuse a file that begins as an array of objects does: they are not lines of their own.

    All but the last of them would be rejected, since a comma follows. Any other line that begins
    with a bracket, as one of a log does, is one bad row.

    Raises InvalidJob (INPUT_CORRUPT).
    """
    compression = compression_of(head)
    text = head
    if compression is not None:
        part = bytes(foreign.source.read_at(0, min(_FIRST_BYTES, foreign.size)))
        with suppress(TruncatedInput):
            text = next(decompressed(foreign, (part,), compression), b"")
    if _ARRAY_OF_OBJECTS.match(text.removeprefix(BOM)):
        raise InvalidJob(
            Reason.INPUT_CORRUPT,
            f"{foreign.file.uri!r} begins as a JSON array of objects does: {OBJECTS_ON_LINES}",
        )


def refuse_float_key(schema: pa.Schema, key: str | None) -> None:
    """Refuse JSON numbers that lose digits as the names of rows: two of them could become one.

    Raises InvalidJob (SCHEMA_MISMATCH).
    """
    path = None if key is None else find_column(schema, key)
    if path is not None and pa.types.is_float64(path.type):
        raise InvalidJob(
            Reason.SCHEMA_MISMATCH,
            f"spec.input.keyField names {key!r}, which holds fractions, or integers that no 64 "
            "bits hold: as float64 they lose digits, and two keys could become one. Write the keys "
            "as text, in quotes, or name another column",
        )


def refuse_damaged(files: Sequence[InputFile], open_file: OpenFile) -> None:
    """Refuse files that show no column, if one is compressed and nothing of it can be read.

    Raises InvalidJob (INPUT_CORRUPT).
    """
    look = partial(_is_damaged_at_once, open_file=open_file)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="inspect") as pool:
        for file, is_damaged in zip(files, pool.map(look, files), strict=True):
            if is_damaged:
                raise InvalidJob(
                    Reason.INPUT_CORRUPT,
                    f"{file.uri!r} is compressed and damaged before the end of its first row: "
                    "write it again, or leave the file out",
                )


def _is_damaged_at_once(file: InputFile, open_file: OpenFile) -> bool:
    with (
        ThreadPoolExecutor(1, thread_name_prefix="fetch") as pool,
        closing(ForeignFile(file, open_file)) as foreign,
        closing(
            text_blocks(foreign, 0, foreign.size, row_ends=line_ends, quoted=False, pool=pool)
        ) as blocks,
    ):
        first = next(blocks, None)
    lost = () if first is None else first.unreadable
    return any(rows.error == "TruncatedInput" for rows in lost)
