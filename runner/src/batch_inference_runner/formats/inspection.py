"""What the input files hold: one schema for all, and the units that shards are cut from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from batch_inference_api.choices import DataFormat
from batch_inference_runner.formats.partitions import partition_schema, refuse_shadowed
from batch_inference_runner.formats.schemas import unify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch_inference_api.runner_contract import CsvOptions
    from batch_inference_runner.formats.foreign_file import OpenFile
    from batch_inference_runner.plan.plan import FileInventory, InputFile

    InspectOne = Callable[[InputFile], tuple[pa.Schema, FileInventory]]

# Footers of remote files cost a round trip each; local ones cost less than a thread is worth.
_THREADS = 16


class Inspection(NamedTuple):
    """What was found.

    `schema`: the columns of the files in the first file's order, then the hive partition columns.
    `inventories`: the units of each file, in the order of the files.
    """

    schema: pa.Schema
    inventories: tuple[FileInventory, ...]


def inspect(
    files: Sequence[InputFile],
    open_file: OpenFile,
    *,
    format: DataFormat,  # noqa: A002 (the field's name in the resource)
    csv: CsvOptions,
    target_bytes: int,
    numbers: frozenset[str] = frozenset(),
    key: str | None = None,
) -> Inspection:
    """Inspect every file; `target_bytes` is about how large a unit of a text file becomes.

    `numbers` are columns that hold numbers even if a text file shows no value of them. `key` is the
    column whose values name rows: of text it gets no type that could lose a digit.

    Raises InvalidJob: INPUT_CORRUPT, SCHEMA_MISMATCH or AMBIGUOUS_COLUMN, naming the file and the
    column. A fetch that failed keeps its type (VersionChanged, NotFound, StoreError).
    """
    partitions = partition_schema(files)
    if format == DataFormat.PARQUET:
        from batch_inference_runner.formats.parquet_files import inspect_parquet

        columns, inventories = _inspect_typed(files, partial(inspect_parquet, open_file=open_file))
    elif format == DataFormat.ARROW:
        from batch_inference_runner.formats.arrow_files import inspect_arrow

        columns, inventories = _inspect_typed(files, partial(inspect_arrow, open_file=open_file))
    elif format == DataFormat.JSON_LINES:
        from batch_inference_runner.formats.text_inspection import inspect_json_lines

        columns, inventories = inspect_json_lines(
            files, open_file, target_bytes=target_bytes, numbers=numbers, key=key
        )
    else:
        from batch_inference_runner.formats.text_inspection import inspect_csv

        columns, inventories = inspect_csv(
            files, open_file, options=csv, target_bytes=target_bytes, numbers=numbers, key=key
        )
    refuse_shadowed(columns, partitions)
    return Inspection(pa.schema([*columns, *partitions]), inventories)


def _inspect_typed(
    files: Sequence[InputFile], inspect_one: InspectOne
) -> tuple[pa.Schema, tuple[FileInventory, ...]]:
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="inspect") as pool:
        found = list(pool.map(inspect_one, files, chunksize=1))
    schema = unify([schema for schema, _ in found], [file.uri for file in files])
    return schema, tuple(inventory for _, inventory in found)
