"""Which outputs of the model become which columns; pure, decided before anything is scored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from batch_inference_api.choices import NonFinitePolicy
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_api.runner_contract import ModelOutputBinding
    from batch_inference_runner.models.signature import Signature, ValueSpec

ARROW_TYPES: dict[str, pa.DataType] = {
    "float16": pa.float16(),
    "float": pa.float32(),
    "double": pa.float64(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}


class OutputPlan(NamedTuple):
    """How one column is made from an output.

    `position` picks one value of [N, k]; `label` one class of a sequence of maps. Without them a
    tensor [N] or [N, 1] gives a scalar, [N, k] a list, a sequence of maps a map column.
    """

    output: str
    column: str
    type: pa.DataType
    position: int | None = None
    label: int | str | None = None
    reject_non_finite: bool = False

    @property
    def field(self) -> pa.Field:
        """The column as it appears in the output's schema."""
        return pa.field(self.column, self.type)


def bind_outputs(
    signature: Signature, schema: pa.Schema, bindings: Sequence[ModelOutputBinding] = ()
) -> tuple[OutputPlan, ...]:
    """Decide which columns the outputs become; every output its own if nothing is said.

    Raises:
        InvalidJob: InvalidSpec, SchemaMismatch, ModelUnsupported, AmbiguousColumn.
    """
    if bindings:
        specs = {spec.name: spec for spec in signature.outputs}
        plans = tuple(_bound(binding, specs) for binding in bindings)
    else:
        plans = tuple(
            OutputPlan(output=spec.name, column=spec.name, type=_whole_type(spec))
            for spec in signature.outputs
        )
    _require_new_names(plans, schema)
    return plans


def _bound(binding: ModelOutputBinding, specs: dict[str, ValueSpec]) -> OutputPlan:
    spec = specs.get(binding.name)
    if spec is None:
        raise InvalidJob(
            Reason.INVALID_SPEC,
            f"spec.model.outputs names {binding.name!r}, but the model's outputs are "
            f"{', '.join(map(repr, specs))}",
        )
    label = _label(spec, binding.class_label)
    if binding.index is not None:
        if label is not None:
            raise _invalid(spec, "takes index or classLabel, not both")
        _require_index(spec, binding.index)
    picked = binding.index is not None or label is not None
    return OutputPlan(
        output=spec.name,
        column=binding.column,
        type=_picked_type(spec) if picked else _whole_type(spec),
        position=binding.index,
        label=label,
        reject_non_finite=binding.non_finite == NonFinitePolicy.REJECT,
    )


def _label(spec: ValueSpec, text: str | None) -> int | str | None:
    if text is None:
        return None
    if spec.map_key is None:
        raise _invalid(
            spec, "has no class labels: classLabel works for ZipMap outputs; use index instead"
        )
    if spec.map_key == "string":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise _invalid(
            spec, f"has whole numbers as class labels, classLabel {text!r} is none"
        ) from error


def _require_index(spec: ValueSpec, index: int) -> None:
    if spec.map_key is not None:
        raise _invalid(spec, "holds maps: use classLabel instead of index")
    trailing = (spec.shape or ())[1:]
    if len(trailing) > 1:
        raise _invalid(spec, "has more than two dimensions: leave out index for a nested list")
    width = trailing[0] if trailing else 1
    if index < 0 or (width is not None and index >= width):
        raise _invalid(spec, f"holds {width or 'any number of'} value(s) a row, index is {index}")


def _invalid(spec: ValueSpec, why: str) -> InvalidJob:
    return InvalidJob(
        Reason.INVALID_SPEC, f"spec.model.outputs: model output {spec.name!r} is {spec} and {why}"
    )


def _picked_type(spec: ValueSpec) -> pa.DataType:
    return pa.float32() if spec.map_key else _element_type(spec)


def _whole_type(spec: ValueSpec) -> pa.DataType:
    if spec.map_key:
        key = pa.int64() if spec.map_key == "int64" else pa.string()
        return pa.map_(key, pa.float32())
    type_ = _element_type(spec)
    trailing = (spec.shape or ())[1:]
    if trailing in {(), (1,)}:
        return type_
    for _ in trailing:
        type_ = pa.list_(type_)
    return type_


def _element_type(spec: ValueSpec) -> pa.DataType:
    if spec.element is None:
        raise InvalidJob(
            Reason.MODEL_UNSUPPORTED,
            f"model output {spec.name!r} is {spec}, which cannot become a column; list the outputs "
            "to keep in spec.model.outputs, or export the model without it",
        )
    return ARROW_TYPES[spec.element]


def _require_new_names(plans: Sequence[OutputPlan], schema: pa.Schema) -> None:
    # Names that differ only by case are one name to SQL expressions.
    taken = {name.lower(): f"input column {name!r}" for name in schema.names}
    for plan in plans:
        if other := taken.get(plan.column.lower()):
            raise InvalidJob(
                Reason.AMBIGUOUS_COLUMN,
                f"model output {plan.output!r} would become column {plan.column!r}, but there is "
                f"{other} already. Give it another name:\n{_snippet(plans)}",
            )
        taken[plan.column.lower()] = f"the column of output {plan.output!r}"


def _snippet(plans: Sequence[OutputPlan]) -> str:
    lines = ["spec:", "  model:", "    outputs:"]
    for plan in plans:
        name = json.dumps(plan.output, ensure_ascii=False)
        column = json.dumps(f"predicted_{plan.column}", ensure_ascii=False)
        lines += [f"    - name: {name}", f"      column: {column}"]
    return "\n".join(lines)
