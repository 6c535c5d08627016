"""Columns computed by SQL expressions over the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.rows import Stage, StageResult
from batch_inference_runner.transforms.expression_check import find_columns
from batch_inference_runner.transforms.projection import Computed, Projection
from batch_inference_runner.transforms.sql import engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_api.runner_contract import ComputedColumn
    from batch_inference_runner.transforms.sql import SqlEngine

_SECTIONS = {Stage.PREPROCESS: "preprocessing", Stage.POSTPROCESS: "postprocessing"}


class Expressions:
    """Adds computed columns to tables of one schema; safe to use from several threads.

    An expression may use the schema's columns and those computed before it. `required` are the
    columns of the schema that are read, `added` the fields that `apply` appends, in order.
    Compiling raises InvalidJob.
    """

    def __init__(
        self, columns: Sequence[ComputedColumn], schema: pa.Schema, *, stage: Stage
    ) -> None:
        self._projection = _compile(columns, schema, stage)
        self.required = self._projection.required
        self.added = self._projection.fields

    def apply(self, table: pa.Table) -> StageResult:
        """Append the computed columns to n rows; rows whose computation fails are errors."""
        result = self._projection.evaluate(table)
        if result.kept is not None:
            table = table.take(pa.array(result.kept))
        for field, column in zip(self.added, result.columns, strict=True):
            table = table.append_column(field, column)
        return StageResult(table, result.kept, result.errors)


def _compile(columns: Sequence[ComputedColumn], schema: pa.Schema, stage: Stage) -> Projection:
    sql = engine()
    items: list[Computed] = []
    for column in columns:
        known = [*schema.names, *(item.name for item in items)]
        items.append(_checked(column, known, sql, f"{_SECTIONS[stage]} column {column.name!r}"))
    return Projection(sql, items, schema, stage=stage)


def _checked(column: ComputedColumn, known: Sequence[str], sql: SqlEngine, what: str) -> Computed:
    taken = next((name for name in known if name.lower() == column.name.lower()), None)
    if taken is not None:
        raise InvalidJob(
            Reason.AMBIGUOUS_COLUMN,
            f"{what}: there is a column {taken!r} already, and expressions cannot replace columns "
            "(SQL names do not differ by case): choose another name",
        )
    uses = find_columns(column.expression, engine=sql, columns=known, what=what)
    return Computed(column.name, column.expression, uses, what)
