"""spec.model: which model, and how its inputs and outputs are bound to columns."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from batch_inference_api.choices import NonFinitePolicy, NullPolicy
from batch_inference_api.v1alpha1.names import ColumnName, SecretReference
from batch_inference_api.v1alpha1.resource import ResourceModel, Rule, find_doubles, matching
from batch_inference_api.v1alpha1.uri import SourceUri

_DIGEST_PATTERN = "^sha256:[0-9a-f]{64}$"

TensorName = Annotated[str, Field(min_length=1, max_length=256)]


class ModelFormat(ResourceModel):
    """The kind of model."""

    name: Literal["onnx"] = "onnx"
    """Name of the format. ONNX is the one that is scored."""


class ModelInput(ResourceModel):
    """Which columns feed one input of the model."""

    rules = (
        Rule(
            "!(has(self.fillValue) && has(self.nulls))",
            "set either fillValue or nulls: a null that is filled is not there any more",
            lambda self: self.fill_value is None or self.nulls is None,
            "fillValue",
        ),
    )

    name: TensorName
    """Name of the input as the model declares it."""
    columns: Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=4096)]
    """Columns in the order in which the model takes them: one, or as many as the input is wide,
    each once."""
    nulls: NullPolicy | None = None
    """What happens to a row with a null in one of the columns: `Reject` sends it to the rejects,
    `NaN` scores it as not-a-number (float inputs only). Without it, and without `fillValue`, the
    row is rejected. In a list column it is about the values in the lists: a row without a list is
    always rejected."""
    fill_value: Annotated[str, Field(max_length=256)] | None = None
    """Scored in place of a null, in a list column of a null within a list; written as text, such as
    `"0"`."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        for column in find_doubles(self.columns):
            yield "columns", f"column {column!r} is named twice (case does not count)"


class ModelOutput(ResourceModel):
    """Which output of the model becomes which column."""

    rules = (
        Rule(
            "!(has(self.index) && has(self.classLabel))",
            "set at most one of index and classLabel: each picks one column of the output",
            lambda self: self.index is None or self.class_label is None,
            "classLabel",
        ),
    )

    name: TensorName
    """Name of the output as the model declares it."""
    column: ColumnName
    """Name of the column in the output dataset."""
    index: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Picks one column of an output that is a matrix, counted from 0."""
    class_label: Annotated[str, Field(max_length=256)] | None = None
    """Picks one class of a classifier's probabilities by its label, written as text."""
    non_finite: NonFinitePolicy = NonFinitePolicy.ALLOW
    """What happens to a row whose score is NaN or infinite: `Allow` writes it, `Reject` sends the
    row to the rejects. To SQL, NaN is greater than every number: reject it if a score decides."""


class ModelSpec(ResourceModel):
    """The model, and how it is bound to columns."""

    storage_uri: SourceUri
    """Where the model lies: an `.onnx` file, or a folder that holds one and its external data."""
    model_format: ModelFormat = Field(default_factory=ModelFormat.model_construct)
    """The kind of model."""
    digest: (
        Annotated[
            str,
            Field(max_length=71, json_schema_extra={"pattern": _DIGEST_PATTERN}),
            matching(_DIGEST_PATTERN, "must be 'sha256:' and 64 lower-case hexadecimal digits"),
        ]
        | None
    ) = None
    """`sha256:` and 64 hexadecimal digits: verified before anything is scored."""
    secret_ref: SecretReference | None = None
    """Credentials for `storageUri`. Without it the pod's own identity is used."""
    inputs: Annotated[
        tuple[ModelInput, ...],
        Field(
            max_length=1024,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = ()
    """How columns feed the model. Without it every input takes the column of its own name and
    shape; a matrix is never filled by guess."""
    outputs: Annotated[
        tuple[ModelOutput, ...],
        Field(
            max_length=256,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["column"],
            },
        ),
    ] = ()
    """Which outputs of the model are written, and as which columns. Without it all of them, under
    their own names."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        names = [item.name for item in self.inputs]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "inputs", f"input {name!r} is bound twice"
        for column in find_doubles(tuple(item.column for item in self.outputs)):
            yield "outputs", f"column {column!r} is named twice (case does not count)"
