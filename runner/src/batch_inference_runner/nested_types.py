"""Walks through Arrow types that have others inside: structs, maps, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def parts(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Yield a type and all types inside of it, outermost first.

    The values of a dictionary and the storage of an extension are not inside.
    """
    yield kind
    for place in range(kind.num_fields):
        yield from parts(kind.field(place).type)


def with_leaves(kind: pa.DataType, replace: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Replace the innermost types inside of structs, maps and lists, or the type if it is none.

    Views and run-end encodings count as having nothing inside. Elements of lists get the name that
    Arrow gives them, whatever their file or DuckDB calls them, and all fields may be null.
    """

    def inside(part: pa.DataType) -> pa.DataType:
        return with_leaves(part, replace)

    if pt.is_struct(kind):
        return pa.struct([pa.field(field.name, inside(field.type)) for field in kind])
    if pt.is_map(kind):
        return pa.map_(inside(kind.key_type), inside(kind.item_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(inside(kind.value_type), kind.list_size)
    if pt.is_list(kind):
        return pa.list_(inside(kind.value_type))
    if pt.is_large_list(kind):
        return pa.large_list(inside(kind.value_type))
    return replace(kind)
