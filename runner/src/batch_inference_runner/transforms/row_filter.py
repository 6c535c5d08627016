"""Which rows of the input are scored at all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.rows import Stage, StageResult
from batch_inference_runner.transforms.expression_check import find_columns
from batch_inference_runner.transforms.projection import Computed, Projection
from batch_inference_runner.transforms.sql import engine

_WHAT = "input.filter"
_KEEP = "keep__"


class RowFilter:
    """Keeps the rows for which a SQL condition is true; safe to use from several threads.

    Rows for which it is false or NULL are in neither `kept` nor `errors` of the result. Compiling
    raises InvalidJob.
    """

    def __init__(self, expression: str, schema: pa.Schema) -> None:
        sql = engine()
        uses = find_columns(expression, engine=sql, columns=schema.names, what=_WHAT)

        def compiled(condition: str) -> Projection:
            return Projection(
                sql, [Computed(_KEEP, condition, uses, _WHAT)], schema, stage=Stage.FILTER
            )

        (field,) = compiled(expression).fields
        if not pa.types.is_boolean(field.type):
            raise InvalidJob(
                Reason.INVALID_SPEC,
                f"{_WHAT}: it gives {field.type}, but a filter must be true or false",
            )
        # Inside CASE, AND and OR stop at the first operand that decides, so `x <> 0 AND 1 // x > 0`
        # does not fail; in WHERE, or as a bare value, the order of evaluation is DuckDB's choice.
        self._projection = compiled(f"CASE WHEN ({expression}\n) THEN true ELSE false END")
        self.required = self._projection.required

    def apply(self, table: pa.Table) -> StageResult:
        """Keep the matching ones of n rows."""
        result = self._projection.evaluate(table)
        (matches,) = result.columns
        keep = np.flatnonzero(matches.fill_null(fill_value=False).to_numpy())
        kept = keep if result.kept is None else result.kept[keep]
        if len(kept) == table.num_rows:
            return StageResult(table)
        return StageResult(table.take(pa.array(kept)), kept.astype(np.int64), result.errors)
