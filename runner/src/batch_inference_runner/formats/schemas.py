"""One schema for many files: equal, or widened without loss, or refused with both types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.formats.tensors import is_tensor, lacks_lists, nested_type

if TYPE_CHECKING:
    from collections.abc import Sequence

# For each numeric type, the types it can be widened to without losing a value.
_INTEGERS = {
    pa.int8(): ("int16", "int32", "int64", "halffloat", "float", "double"),
    pa.int16(): ("int32", "int64", "float", "double"),
    pa.int32(): ("int64", "double"),
    pa.int64(): (),
    pa.uint8(): (
        "uint16",
        "uint32",
        "uint64",
        "int16",
        "int32",
        "int64",
        "halffloat",
        "float",
        "double",
    ),
    pa.uint16(): ("uint32", "uint64", "int32", "int64", "float", "double"),
    pa.uint32(): ("uint64", "int64", "double"),
    pa.uint64(): (),
    pa.float16(): ("float", "double"),
    pa.float32(): ("double",),
    pa.float64(): (),
}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Reduce a type to how its values are handed on.

    Dictionaries and run-end encodings become their values, tensors nested lists, other extensions
    their storage, large and view variants of strings, binaries and lists the plain one. Tensors
    that no lists can hold stay, for nobody to read.
    """
    types = pa.types
    if is_tensor(kind):
        return kind if lacks_lists(kind) else nested_type(kind, plain_type(kind.value_type))
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_fixed_size_list(kind):
        return pa.list_(_item(kind), kind.list_size)
    if _is_variable_list(kind):
        return pa.list_(_item(kind))
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    return kind


def _is_variable_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _item(kind: pa.DataType) -> pa.Field:
    return pa.field("item", plain_type(kind.value_type))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Reduce every type of a file's schema, and drop metadata and nullability."""
    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])


def widest(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """Find the narrowest type that holds all values of both without loss; None if there is none."""
    if left.equals(right) or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if left in _INTEGERS and right in _INTEGERS:
        return _widest_number(left, right)
    if pa.types.is_list(left) and pa.types.is_list(right):
        item = widest(left.value_type, right.value_type)
        return None if item is None else pa.list_(pa.field("item", item))
    if pa.types.is_fixed_size_list(left) and pa.types.is_fixed_size_list(right):
        item = widest(left.value_type, right.value_type)
        same = left.list_size == right.list_size
        return pa.list_(pa.field("item", item), left.list_size) if item and same else None
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        return _widest_struct(left, right)
    return None


def _widest_number(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    wider_left = (str(left), *_INTEGERS[left])
    wider_right = {str(right), *_INTEGERS[right]}
    for name in wider_left:
        if name in wider_right:
            return pa.type_for_alias(name)
    return None


def _widest_struct(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    if [field.name for field in left] != [field.name for field in right]:
        return None
    fields = []
    for ours, theirs in zip(left, right, strict=True):
        kind = widest(ours.type, theirs.type)
        if kind is None:
            return None
        fields.append(pa.field(ours.name, kind))
    return pa.struct(fields)


def unify(schemas: Sequence[pa.Schema], uris: Sequence[str]) -> pa.Schema:
    """Unify the plain schemas of all files; the order of columns is the first file's.

    Raises InvalidJob: SCHEMA_MISMATCH naming file, column and both types, or AMBIGUOUS_COLUMN.
    """
    if not schemas:
        return pa.schema([])
    merged, known = schemas[0], schemas[0]
    origins = dict.fromkeys(merged.names, uris[0])
    refuse_ambiguous_names(merged.names, uris[0])
    for schema, uri in zip(schemas[1:], uris[1:], strict=True):
        if schema.equals(known):
            continue
        merged = _merge(merged, schema, uri=uri, origins=origins)
        known = schema
    return merged


def _merge(merged: pa.Schema, schema: pa.Schema, *, uri: str, origins: dict[str, str]) -> pa.Schema:
    refuse_ambiguous_names(schema.names, uri)
    fields = []
    for field in merged:
        index = schema.get_field_index(field.name)
        if index < 0:
            raise _mismatch(
                f"column {field.name!r} is {field.type} in {origins[field.name]!r} and missing in "
                f"{uri!r}"
            )
        kind = widest(field.type, schema.field(index).type)
        if kind is None:
            raise _mismatch(
                f"column {field.name!r} is {field.type} in {origins[field.name]!r} and "
                f"{schema.field(index).type} in {uri!r}"
            )
        if not kind.equals(field.type):
            origins[field.name] = uri
        fields.append(pa.field(field.name, kind))
    extra = [name for name in schema.names if name not in origins]
    if extra:
        first = next(iter(origins.values()), "the first file")
        kind = schema.field(extra[0]).type
        raise _mismatch(f"column {extra[0]!r} is {kind} in {uri!r} and missing in {first!r}")
    return pa.schema(fields)


def _mismatch(what: str) -> InvalidJob:
    return InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"{what}; all files need the same columns, with types that widen without loss: rewrite the "
        "file, or list only files of one schema",
    )


def refuse_ambiguous_names(names: Sequence[str], uri: str) -> None:
    """Raise InvalidJob(AMBIGUOUS_COLUMN) when two names are equal, or differ only in case.

    SQL names are case-insensitive, so an expression could silently read the other column.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise _ambiguous(other, name, uri)
    if len(seen) != len(names):
        repeated = next(name for name in names if list(names).count(name) > 1)
        raise _ambiguous(repeated, repeated, uri)


def _ambiguous(first: str, second: str, uri: str) -> InvalidJob:
    same = "appears twice" if first == second else f"and {second!r} differ only in case"
    return InvalidJob(
        Reason.AMBIGUOUS_COLUMN, f"column {first!r} {same} in {uri!r}; rename one of the two"
    )
