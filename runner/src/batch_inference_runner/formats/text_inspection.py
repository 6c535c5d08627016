"""What JSON Lines and CSV files hold: units of whole rows, and types inferred from samples."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from batch_inference_api.choices import NewlinesInValues
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.byte_ranges import (
    cut_at_newlines,
    cut_outside_quotes,
    units_between,
)
from batch_inference_runner.formats.compressed_text import compression_of
from batch_inference_runner.formats.csv_files import CsvRows, ParsedRows, has_more_rows
from batch_inference_runner.formats.csv_first_row import (
    column_names,
    dialect_of,
    read_first_row,
    refuse_bad_header,
)
from batch_inference_runner.formats.csv_rows import row_ends
from batch_inference_runner.formats.csv_values import infer_key_type, infer_type
from batch_inference_runner.formats.foreign_file import ForeignFile
from batch_inference_runner.formats.json_lines import line_ends
from batch_inference_runner.formats.json_types import infer_schema
from batch_inference_runner.formats.schemas import refuse_ambiguous_names
from batch_inference_runner.formats.text_blocks import BOM, TextBlock, text_blocks
from batch_inference_runner.formats.text_refusals import (
    HEAD_BYTES,
    OBJECTS_ON_LINES,
    refuse_array,
    refuse_damaged,
    refuse_float_key,
    refuse_other_formats,
    refuse_wide_window,
)
from batch_inference_runner.plan.plan import FileInventory, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batch_inference_api.runner_contract import CsvOptions
    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.formats.text_blocks import RowEnds
    from batch_inference_runner.plan.plan import InputFile

_THREADS = 16
_MOST_SAMPLES = 16
_SAMPLED_ROWS = 4096


class _Found(NamedTuple):
    """One file: its units, and (CSV) the names of its columns; no names where it is empty.

    The names are guessed where the file has no row that can be counted on.
    """

    units: tuple[Unit, ...]
    names: tuple[str, ...] = ()
    has_rows: bool = True
    is_guessed: bool = False


class _Sample(NamedTuple):
    """The first rows of a unit."""

    file: int
    rows: TextBlock
    holds_header: bool

    @property
    def text(self) -> bytes:
        """The rows as one text."""
        return self.rows.text[: int(self.rows.ends[-1])]


def inspect_json_lines(
    files: Sequence[InputFile],
    open_file: OpenFile,
    *,
    target_bytes: int,
    numbers: frozenset[str],
    key: str | None,
) -> tuple[pa.Schema, tuple[FileInventory, ...]]:
    """Cut every file at newlines, and infer the columns from lines of up to 16 places.

    Raises InvalidJob (INPUT_CORRUPT, SCHEMA_MISMATCH, AMBIGUOUS_COLUMN).
    """

    def look(file: InputFile) -> _Found:
        foreign = ForeignFile(file, open_file)
        try:
            head = _head(foreign)
            refuse_array(foreign, head)
            units = _whole_if_compressed(foreign, head)
            return _Found(cut_at_newlines(foreign, target_bytes) if units is None else units)
        finally:
            foreign.close()

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="inspect") as pool:
        found = list(pool.map(look, files))
    with ThreadPoolExecutor(2, thread_name_prefix="fetch") as pool:
        sampled = _samples(files, found, open_file, row_ends=line_ends, quoted=False, pool=pool)
        texts = [(sample.file, sample.text) for sample in sampled]
        schema = infer_schema((text for _, text in texts), numbers=numbers)
    if not schema.names:
        strange = next((file for file, text in texts if text.strip()), None)
        if strange is not None:
            raise InvalidJob(
                Reason.INPUT_CORRUPT,
                f"no line of {files[strange].uri!r} that was looked at is one JSON object with "
                f"keys: {OBJECTS_ON_LINES}",
            )
        refuse_damaged(files, open_file)
    refuse_ambiguous_names(schema.names, files[0].uri if files else "the input")
    refuse_float_key(schema, key)
    return schema, tuple(FileInventory(item.units) for item in found)


def inspect_csv(
    files: Sequence[InputFile],
    open_file: OpenFile,
    *,
    options: CsvOptions,
    target_bytes: int,
    numbers: frozenset[str],
    key: str | None,
) -> tuple[pa.Schema, tuple[FileInventory, ...]]:
    """Read every header, cut every file between rows, and infer the types from samples.

    Raises InvalidJob (INPUT_CORRUPT, SCHEMA_MISMATCH, AMBIGUOUS_COLUMN).
    """
    dialect = dialect_of(options)
    fetching = ThreadPoolExecutor(2, thread_name_prefix="fetch")

    def look(file: InputFile) -> _Found:
        foreign = ForeignFile(file, open_file)
        try:
            units = _whole_if_compressed(foreign, _head(foreign))
            if units is None:
                units = _csv_units(foreign, options, target_bytes)
            first = read_first_row(foreign, dialect, pool=fetching)
            if options.header:
                refuse_bad_header(first, dialect, file.uri)
            units = _beginning_with_row(units, first.offset)
            has_rows = not (options.header and _is_only(first.text, foreign))
            names = column_names(first, options)
            return _Found(units, names, has_rows, is_guessed=not first.model)
        finally:
            foreign.close()

    with fetching, ThreadPoolExecutor(_THREADS, thread_name_prefix="inspect") as pool:
        found = list(pool.map(look, files))
        names = _common_names(files, found)
        if not names:
            refuse_damaged(files, open_file)
        ends = partial(row_ends, dialect=dialect)
        samples = _samples(
            files, found, open_file, row_ends=ends, quoted=dialect.multiline, pool=fetching
        )
        parts = list(_parsed(samples, found, names, options))
        if options.header and parts and all(part.is_of_other_width for part in parts):
            raise _other_width(names, files)
        texts = [part.table for part in parts]

        def has_rows(file: InputFile) -> bool:
            with closing(ForeignFile(file, open_file)) as foreign:
                return has_more_rows(foreign, int(options.header), dialect, pool=fetching)

        is_empty = not texts and not any(pool.map(has_rows, files))
    # Without a row any type is right, and nulls fit every input of a model.
    unknown = pa.null() if is_empty else pa.string()
    without_values = {name: pa.float64() if name in numbers else unknown for name in names}
    types = {name: _inferred(name, texts, key, kind) for name, kind in without_values.items()}
    return pa.schema(types), tuple(FileInventory(item.units) for item in found)


def _parsed(
    samples: Iterable[_Sample], found: Sequence[_Found], names: Sequence[str], options: CsvOptions
) -> Iterator[ParsedRows]:
    for sample in samples:
        own_names = found[sample.file].names
        rows = CsvRows(sample.rows, dialect_of(options), names=own_names, wanted=names)
        if options.header and sample.holds_header:
            rows.skip_first()
        if len(rows.starts):
            yield rows.parse()


def _other_width(names: Sequence[str], files: Sequence[InputFile]) -> InvalidJob:
    which = repr(files[0].uri) if len(files) == 1 else f"the {len(files)} files"
    return InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"no row of {which} that was looked at has as many values as the header has names, which "
        f"is {len(names)}: write one name for each value; check spec.input.csv.delimiter, and set "
        "spec.input.csv.header to false if the first row is no header",
    )


def _beginning_with_row(units: tuple[Unit, ...], offset: int) -> tuple[Unit, ...]:
    """Join the first units until they hold the row at `offset`, before which all lines are blank.

    A header is looked for in the first unit only.
    """
    blank = sum(unit.stop <= offset for unit in units[:-1])
    if not blank:
        return units
    stop = units[blank].stop
    return (Unit(0, stop, stop, None), *units[blank + 1 :])


def _is_only(row: bytes, foreign: ForeignFile) -> bool:
    """Tell whether a file holds nothing but this row."""
    if foreign.size > len(BOM) + len(row):
        return False
    return bytes(foreign.source.read_at(0, foreign.size)).removeprefix(BOM) == row


def _inferred(
    name: str, texts: Sequence[pa.Table], key: str | None, of_nulls: pa.DataType
) -> pa.DataType:
    chunks = [chunk for text in texts for chunk in text.column(name).chunks]
    infer = infer_key_type if name == key else infer_type
    return infer(pa.chunked_array(chunks, pa.string()), of_nulls=of_nulls)


def _csv_units(foreign: ForeignFile, options: CsvOptions, target_bytes: int) -> tuple[Unit, ...]:
    if options.newlines_in_values == NewlinesInValues.NEVER:
        return cut_at_newlines(foreign, target_bytes)
    if foreign.ranged is None or options.newlines_in_values == NewlinesInValues.ALWAYS:
        return cut_outside_quotes(foreign, target_bytes, dialect_of(options))
    # looking for quotes would fetch the whole object twice, unasked
    return units_between([], foreign.size)


def _head(foreign: ForeignFile) -> bytes:
    """The first bytes of a file that is text, compressed or not; raises InvalidJob for others."""
    head = bytes(foreign.source.read_at(0, min(HEAD_BYTES, foreign.size))) if foreign.size else b""
    refuse_other_formats(foreign, head)
    refuse_wide_window(foreign, head)
    return head


def _whole_if_compressed(foreign: ForeignFile, head: bytes) -> tuple[Unit, ...] | None:
    """One unit for a compressed file, none for an empty one; None for a file that can be cut."""
    if foreign.size == 0:
        return ()
    return None if compression_of(head) is None else units_between([], foreign.size)


def _common_names(files: Sequence[InputFile], found: Sequence[_Found]) -> tuple[str, ...]:
    named = [(file, item) for file, item in zip(files, found, strict=True) if item.names]
    names: tuple[str, ...] = ()
    first = ""
    for file, item in [pair for pair in named if not pair[1].is_guessed] or named[:1]:
        if not names:
            names, first = item.names, file.uri
            refuse_ambiguous_names(names, first)
        if item.names == names:
            continue
        refuse_ambiguous_names(item.names, file.uri)
        _refuse_difference(set(names), first, set(item.names), file.uri)
    return names


def _refuse_difference(left: set[str], left_uri: str, right: set[str], right_uri: str) -> None:
    for missing, has, lacks in (
        (left - right, left_uri, right_uri),
        (right - left, right_uri, left_uri),
    ):
        if missing:
            raise InvalidJob(
                Reason.SCHEMA_MISMATCH,
                f"column {min(missing)!r} is in {has!r} and missing in {lacks!r}; all CSV files "
                "need the same header, in any order",
            )


def _places(found: Sequence[_Found]) -> list[tuple[int, Unit]]:
    """List the units that may hold rows, with the numbers of their files."""
    return [(i, unit) for i, item in enumerate(found) if item.has_rows for unit in item.units]


def _samples(
    files: Sequence[InputFile],
    found: Sequence[_Found],
    open_file: OpenFile,
    *,
    row_ends: RowEnds,
    quoted: bool,
    pool: ThreadPoolExecutor,
) -> Iterator[_Sample]:
    """Read the beginning of up to 16 units, spread over all: 4,096 rows together at most."""
    places = _places(found)
    count = min(_MOST_SAMPLES, len(places))
    for sample in range(count):
        index, unit = places[sample * len(places) // count]
        foreign = ForeignFile(files[index], open_file)
        blocks = text_blocks(
            foreign, unit.start, unit.stop, row_ends=row_ends, quoted=quoted, pool=pool
        )
        try:
            heads = _first_rows(blocks, _SAMPLED_ROWS // count)
        finally:
            blocks.close()
            foreign.close()
        for number, head in enumerate(heads):
            yield _Sample(index, head, holds_header=unit.start == 0 and number == 0)


def _first_rows(blocks: Iterator[TextBlock], rows: int) -> list[TextBlock]:
    """Take at most `rows`: the last one of a file that lacks its newline is a block by itself."""
    heads = []
    for block in islice(blocks, 2):
        head = block._replace(starts=block.starts[:rows], ends=block.ends[:rows])
        if len(head.starts):
            heads.append(head)
        rows -= len(head.starts)
        if not rows:
            break
    return heads
