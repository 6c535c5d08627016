"""Which `key=value` folder a row is written to.

As Hive and Spark do: characters that are special in paths are percent-encoded, nulls and empty
strings go to `__HIVE_DEFAULT_PARTITION__`, other characters (also non-ASCII ones) stay as they are.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from batch_inference_runner.formats.partitions import NULL_PARTITION
from batch_inference_runner.formats.row_checks import RowCheck
from batch_inference_runner.formats.writable import is_string

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batch_inference_runner.formats.row_checks import Mask

_SPECIAL = re.compile(r"""[\x00-\x1f\x7f"#%&'*+/:;<=>?@\\\[\]^`{|}~]""")
_LONGEST_NAME_BYTES = 255


def split_by_folder(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Split n rows by partition folder: ("k=v/", rows without the partition columns).

    Rows keep their order within a folder, and every row is in exactly one part.
    """
    rest = table.drop_columns(list(columns))
    if table.num_rows == 0:
        return
    folders, codes = _folder_codes(table, columns)
    if len(folders) == 1:
        yield folders[0], rest
        return
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(folders)))
    sorted_rows = rest.take(pa.array(order))
    start = 0
    for folder, end in zip(folders, ends.tolist(), strict=True):
        if end > start:
            yield folder, sorted_rows.slice(start, end - start)
        start = end


def folder_name(column: str, value: str | None) -> str:
    """Return one level of the path, as `country=DE`."""
    return f"{_quoted(column)}={_quoted(value) if value else NULL_PARTITION}"


def folder_checks(schema: pa.Schema, columns: Iterable[str]) -> tuple[RowCheck, ...]:
    """Checks of those partition columns whose values may be too long for the name of a folder."""
    message = f"too long for the name of a folder, which takes {_LONGEST_NAME_BYTES} bytes"
    return tuple(
        RowCheck(column, partial(_too_long, column), "PartitionValueTooLong", message)
        for column in columns
        if is_string(schema.field(column).type)
    )


def _too_long(column: str, values: pa.ChunkedArray) -> Mask:
    encoded = _encoded(values)
    names = (folder_name(column, value).encode() for value in encoded.dictionary.to_pylist())
    is_too_long = np.array([len(name) > _LONGEST_NAME_BYTES for name in names], np.bool_)
    mask: Mask = is_too_long[encoded.indices.to_numpy()]
    return mask


def _folder_codes(table: pa.Table, columns: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return distinct folders, sorted, and for each row its folder's position among them."""
    paths: np.ndarray | None = None
    names: list[str] = [""]
    for column in columns:
        encoded = _encoded(table.column(column))
        values = [folder_name(column, value) for value in encoded.dictionary.to_pylist()]
        codes = encoded.indices.to_numpy().astype(np.int64)
        if paths is not None:
            codes = paths * len(values) + codes
        distinct, paths = np.unique(codes, return_inverse=True)
        pairs = (divmod(code, len(values)) for code in distinct.tolist())
        names = [f"{names[before]}{values[code]}/" for before, code in pairs]
    assert paths is not None
    return names, paths.astype(np.int64)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The values of a partition column as text, nulls as empty text."""
    import pyarrow.compute as pc

    text = column.combine_chunks()
    if pa.types.is_dictionary(text.type):
        text = text.dictionary_decode()
    return pc.fill_null(text.cast(pa.string()), "").dictionary_encode()


def _quoted(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"%{ord(match[0]):02X}", text)
