"""Which `key=value` folder a row is written to.

As Hive and Spark do: characters that are special in paths are percent-encoded, nulls and empty
strings go to `__HIVE_DEFAULT_PARTITION__`, other characters (also non-ASCII ones) stay as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.formats.partitions import NULL_PARTITION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    name = f"{_quoted(column)}={_quoted(value) if value else NULL_PARTITION}"
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise JobFailed(
            Reason.INVALID_SPEC,
            f"a value of the partition column {column!r} is too long for the name of a folder "
            f"({_LONGEST_NAME_BYTES} bytes): partition by a shorter column",
        )
    return name


def _folder_codes(table: pa.Table, columns: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return distinct folders, sorted, and for each row its folder's position among them."""
    import pyarrow.compute as pc

    paths: np.ndarray | None = None
    names: list[str] = [""]
    for column in columns:
        text = table.column(column).combine_chunks()
        if pa.types.is_dictionary(text.type):
            text = text.dictionary_decode()
        encoded = pc.fill_null(text.cast(pa.string()), "").dictionary_encode()
        values = [folder_name(column, value) for value in encoded.dictionary.to_pylist()]
        codes = encoded.indices.to_numpy().astype(np.int64)
        if paths is not None:
            codes = paths * len(values) + codes
        distinct, paths = np.unique(codes, return_inverse=True)
        pairs = (divmod(code, len(values)) for code in distinct.tolist())
        names = [f"{names[before]}{values[code]}/" for before, code in pairs]
    assert paths is not None
    return names, paths.astype(np.int64)


def _quoted(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"%{ord(match[0]):02X}", text)
