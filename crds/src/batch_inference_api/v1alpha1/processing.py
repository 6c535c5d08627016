"""spec.preprocessing and spec.postprocessing: columns computed before and after the model."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from batch_inference_api.v1alpha1.names import ColumnName, Expression
from batch_inference_api.v1alpha1.resource import ResourceModel, find_doubles


class ComputedColumnSpec(ResourceModel):
    """One computed column."""

    name: ColumnName
    """Name of the new column. It must not exist yet."""
    expression: Expression
    """SQL expression over the columns of the same row, those computed before it included. It must
    be deterministic."""


class ProcessingSpec(ResourceModel):
    """Columns computed row by row."""

    columns: Annotated[
        tuple[ComputedColumnSpec, ...],
        Field(
            min_length=1,
            max_length=256,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ]
    """The computed columns, in the order in which they are computed."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        for name in find_doubles(tuple(column.name for column in self.columns)):
            yield "columns", f"column {name!r} is computed twice (case does not count)"
