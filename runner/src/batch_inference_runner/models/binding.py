"""Which columns feed which input of the model; pure, decided before anything is scored.

Rules, in this order:

1. `spec.model.inputs` names the columns: one column, or k scalar columns for an input [N, k].
2. An input [N] or [N, 1] takes the column of its name.
3. An input [N, k, ...] takes the list column of its name whose rows hold exactly k x ... values.

Anything else is refused with the candidates: k loose columns are never bound by their order in a
file, because nothing would notice a wrong order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from batch_inference_api.choices import NullPolicy
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.models.column_texts import listed, snippet, with_types
from batch_inference_runner.models.signature import DTYPES, Signature, ValueSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_api.runner_contract import ModelInputBinding

_FLOATS = frozenset({"float16", "float", "double"})
_NO_COLUMNS = "the input has no rows that would say which columns there are"
_WANTED = {
    "bool": "a boolean column",
    "string": "a string column",
}


class InputPlan(NamedTuple):
    """How one input is fed.

    `trailing` are the dimensions after the batch: () for [N], (k,) for [N, k]. Either there is one
    column with `lists`, or as many scalar columns as `trailing` has elements. `fill` replaces
    nulls; None rejects the row. `batch` is the batch dimension if the model fixes it.
    """

    name: str
    element: str
    columns: tuple[str, ...]
    trailing: tuple[int, ...]
    lists: bool = False
    fill: Any = None
    batch: int | None = None

    @property
    def takes_floats(self) -> bool:
        """Whether values become floats, of whatever width."""
        return self.element in _FLOATS


def bind_inputs(
    signature: Signature, schema: pa.Schema, bindings: Sequence[ModelInputBinding] = ()
) -> tuple[InputPlan, ...]:
    """Decide for every input of the model which columns of `schema` feed it.

    Raises:
        InvalidJob: SchemaMismatch (with a snippet to paste), ModelUnsupported, InvalidSpec.
    """
    if not signature.inputs:
        raise InvalidJob(
            Reason.MODEL_UNSUPPORTED,
            "the model has no inputs, so its scores cannot depend on the rows",
        )
    by_name = {binding.name: binding for binding in bindings}
    known = [spec.name for spec in signature.inputs]
    if unknown := [name for name in by_name if name not in known]:
        raise _unknown_input(unknown[0], signature)
    if len(by_name) < len(bindings):
        raise InvalidJob(
            Reason.INVALID_SPEC, "spec.model.inputs names an input twice; list each once"
        )
    return tuple(_bind(spec, schema, by_name.get(spec.name)) for spec in signature.inputs)


def _unknown_input(name: str, signature: Signature) -> InvalidJob:
    if name in signature.defaults:
        why = (
            "which the model gives a value itself, so that no column feeds it; leave it out, or "
            "export the model without an initializer of that name"
        )
    else:
        why = f"but the model's inputs are {', '.join(repr(s.name) for s in signature.inputs)}"
    return InvalidJob(Reason.INVALID_SPEC, f"spec.model.inputs names {name!r}, {why}")


def fixed_batch(plans: Sequence[InputPlan]) -> int | None:
    """Return the batch size that the model demands, None if any will do.

    Raises:
        InvalidJob: ModelUnsupported, the inputs demand different ones.
    """
    sizes = {plan.batch for plan in plans if plan.batch is not None}
    if len(sizes) > 1:
        raise InvalidJob(
            Reason.MODEL_UNSUPPORTED,
            f"the model's inputs fix different batch sizes {sorted(sizes)}: the first dimension "
            "of every input must be the batch; export the model with a symbolic batch dimension",
        )
    return sizes.pop() if sizes else None


def _bind(spec: ValueSpec, schema: pa.Schema, binding: ModelInputBinding | None) -> InputPlan:
    element = spec.element
    if element is None:
        raise InvalidJob(
            Reason.MODEL_UNSUPPORTED,
            f"model input {spec.name!r} is {spec}, which cannot be fed from a column; supported "
            f"are tensors of {', '.join(DTYPES)}",
        )
    if spec.shape is None:
        raise InvalidJob(
            Reason.MODEL_UNSUPPORTED,
            f"model input {spec.name!r} is {spec} without a batch dimension; export the model "
            "with inputs of shape [N] or [N, k]",
        )
    columns = binding.columns if binding else (spec.name,)
    _require_columns(spec, columns, schema, explicit=binding is not None)
    if len(columns) == 1 and _is_list(schema.field(columns[0]).type):
        trailing = _list_shape(spec, schema.field(columns[0]))
        lists = True
    else:
        _refuse_lists(spec, columns, schema)
        trailing = _scalar_shape(spec, columns, schema, explicit=binding is not None)
        lists = False
    for column in columns:
        _require_type(spec, schema.field(column))
    return InputPlan(
        name=spec.name,
        element=element,
        columns=tuple(columns),
        trailing=trailing,
        lists=lists,
        fill=_fill(spec, binding),
        batch=spec.shape[0],
    )


def _require_columns(
    spec: ValueSpec, columns: Sequence[str], schema: pa.Schema, *, explicit: bool
) -> None:
    missing = [name for name in columns if schema.get_field_index(name) < 0]
    if not missing:
        return
    if not explicit:
        raise _no_column(spec, schema)
    raise InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"spec.model.inputs binds {spec.name!r} to column {missing[0]!r}, which does not exist; "
        f"{_what_there_is(missing[0], schema)}",
    )


def _what_there_is(name: str, schema: pa.Schema) -> str:
    if not schema.names:
        return _NO_COLUMNS
    import difflib

    by_lower_case = {column.strip().lower(): column for column in schema.names}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    hint = f"did you mean {by_lower_case[near[0]]!r}? " if near else ""
    return f"{hint}the columns are {with_types(schema)}"


def _scalar_shape(
    spec: ValueSpec, columns: Sequence[str], schema: pa.Schema, *, explicit: bool
) -> tuple[int, ...]:
    """Return the trailing dimensions that scalar columns give, or refuse."""
    trailing = (spec.shape or ())[1:]
    if not trailing:
        if len(columns) == 1:
            return ()
    elif len(trailing) == 1 and trailing[0] in ({None, len(columns)} if explicit else {1}):
        # A symbolic width says nothing: a lone column of that name may be one of many.
        return (len(columns),)
    if not explicit:
        raise _no_column(spec, schema)
    wanted = math.prod(dim or 1 for dim in trailing)
    raise InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"model input {spec.name!r} is {spec} and takes {wanted} value(s) a row, but "
        f"spec.model.inputs binds {len(columns)} scalar column(s) to it"
        + ("; bind one list column instead" if len(trailing) > 1 else ""),
    )


def _refuse_lists(spec: ValueSpec, columns: Sequence[str], schema: pa.Schema) -> None:
    """Refuse a list among several columns: each of these gives one value a row."""
    for name in columns:
        if _is_list(schema.field(name).type):
            raise _wrong_list(
                spec,
                schema.field(name),
                "takes it together with other columns, of which each gives one value a row; bind "
                f"single elements, such as a preprocessing column {name}[1], or the list alone",
            )


def _list_shape(spec: ValueSpec, field: pa.Field) -> tuple[int, ...]:
    """Return the trailing dimensions that a list column gives, or refuse."""
    declared = (spec.shape or ())[1:]
    levels = list_levels(field.type)
    if not declared:
        raise _wrong_list(spec, field, "takes one value a row")
    if None not in declared:
        sizes = declared if len(levels) > 1 else (math.prod(dim or 1 for dim in declared),)
    else:
        sizes = levels
        if len(levels) != len(declared) or None in levels:
            raise _wrong_list(
                spec,
                field,
                "leaves a dimension open, which a fixed_size_list column must settle: make one in "
                "spec.preprocessing, where rows of other lengths are cut or padded, for example "
                "list_resize(tokens, 128, 0)::BIGINT[128]",
            )
    if len(sizes) != len(levels) or any(
        level not in {None, size} for level, size in zip(levels, sizes, strict=True)
    ):
        raise _wrong_list(spec, field, "needs rows of exactly that shape")
    shape = declared if None not in declared else sizes
    if any(want not in {None, size} for want, size in zip(declared, shape, strict=True)):
        raise _wrong_list(spec, field, "needs rows of exactly that shape")
    return tuple(size for size in shape if size is not None)


def _has_shape(spec: ValueSpec, field: pa.Field) -> bool:
    try:
        _list_shape(spec, field)
    except InvalidJob:
        return False
    return True


def list_levels(type_: pa.DataType) -> tuple[int | None, ...]:
    """Return the length of every level of a nested list type; None where rows may differ."""
    levels: list[int | None] = []
    while _is_list(type_):
        levels.append(type_.list_size if pt.is_fixed_size_list(type_) else None)
        type_ = type_.value_type
    return tuple(levels)


def _wrong_list(spec: ValueSpec, field: pa.Field, why: str) -> InvalidJob:
    return InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"column {field.name!r} is {field.type}, but model input {spec.name!r} is {spec} and {why}",
    )


def _is_list(type_: pa.DataType) -> bool:
    return bool(pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_))


def value_type(type_: pa.DataType) -> pa.DataType:
    """Return the type of single values: below lists, and of a dictionary's entries."""
    while _is_list(type_):
        type_ = type_.value_type
    return type_.value_type if pt.is_dictionary(type_) else type_


def is_bindable(type_: pa.DataType, element: str) -> bool:
    """Tell whether values of an Arrow type may become elements of a model input."""
    type_ = value_type(type_)
    if pt.is_null(type_):
        return True
    if element == "string":
        return bool(pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_))
    if element == "bool":
        return bool(pt.is_boolean(type_))
    if pt.is_integer(type_) or pt.is_boolean(type_):
        return True
    return element in _FLOATS and bool(pt.is_floating(type_) or pt.is_decimal(type_))


def _require_type(spec: ValueSpec, field: pa.Field) -> None:
    element = spec.element or ""
    if is_bindable(field.type, element):
        return
    kind = "an integer column" if "int" in element else "a numeric column"
    raise InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"column {field.name!r} is {field.type}, but model input {spec.name!r} is {spec} and wants "
        f"{_WANTED.get(element, kind)}; convert it with a spec.preprocessing column (CAST) and "
        "bind that one",
    )


def _fill(spec: ValueSpec, binding: ModelInputBinding | None) -> Any:
    if binding is None:
        return None
    element = spec.element or ""
    if binding.fill_value is not None:
        return _parsed_fill(spec, binding.fill_value, element)
    if binding.nulls != NullPolicy.NAN:
        return None
    if element not in _FLOATS:
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"spec.model.inputs[{spec.name!r}].nulls is NaN, but the input is {spec}, which has no "
            "NaN; use fillValue, or Reject",
        )
    return math.nan


def _parsed_fill(spec: ValueSpec, text: str, element: str) -> Any:
    try:
        if element == "string":
            return text
        if element == "bool":
            return {"true": True, "false": False}[text.lower()]
        return _parsed_number(text, DTYPES[element])
    except (ValueError, KeyError, OverflowError) as error:
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"spec.model.inputs[{spec.name!r}].fillValue is not a {element}, which the input "
            f"wants ({spec})",
        ) from error


def _parsed_number(text: str, dtype: np.dtype[Any]) -> Any:
    """Read a number of which a column's values would become the same.

    Raises ValueError and OverflowError.
    """
    if "_" in text or not text.isascii():
        raise ValueError(text)  # Python reads 1_0, and the digits of any script
    if dtype.kind != "f":
        return dtype.type(int(text))
    with np.errstate(over="ignore"):
        value = dtype.type(float(text))
    if np.isinf(value) and "inf" not in text.lower():
        raise OverflowError(text)
    return value


def _no_column(spec: ValueSpec, schema: pa.Schema) -> InvalidJob:
    element = spec.element or ""
    trailing = (spec.shape or ())[1:]
    width = 1 if not trailing else trailing[-1]
    fits = [field for field in schema if is_bindable(field.type, element)]
    scalars = [field.name for field in fits if len(trailing) <= 1 and not _is_list(field.type)]
    lists = [field.name for field in fits if _is_list(field.type) and _has_shape(spec, field)]
    # Keys and counters are mostly whole numbers: floats first where enough of them exist.
    floats = [name for name in scalars if pt.is_floating(schema.field(name).type)]
    candidates = floats if "int" not in element and len(floats) >= (width or 1) else scalars
    enough = len(candidates) >= (width or 1)
    chosen = (candidates[: width or None] if enough else lists[:1]) or ["<column>"]
    per_row = math.prod(dim or 1 for dim in trailing) if None not in trailing else "any number of"
    kinds = [("scalar", scalars)] if len(trailing) <= 1 else []
    kinds += [("list", lists)] if trailing else []
    found = "; ".join(f"{kind} columns: {listed(names)}" for kind, names in kinds)
    there = f"the input's columns are {with_types(schema)}" if schema.names else _NO_COLUMNS
    return InvalidJob(
        Reason.SCHEMA_MISMATCH,
        f"model input {spec.name!r} is {spec} and takes {per_row} value(s) a row, but no column of "
        f"that name fits; {there}. Columns that may fit are: {found}. Say which feed it, in the "
        f"order the model was trained with, for example:\n{snippet(spec.name, chosen)}",
    )
