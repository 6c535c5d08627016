"""Filters: true keeps, false and NULL do not, failure rejects."""

from __future__ import annotations

import sys
import types
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.rows import Stage
from batch_inference_runner.transforms import sql
from batch_inference_runner.transforms.row_filter import RowFilter

TABLE = pa.table({"x": pa.array([0, 1, 2, None], pa.int64()), "s": ["1", "x", "3", "4"]})


def apply(expression, table=TABLE):
    return RowFilter(expression, table.schema).apply(table)


def test_rows_that_match_are_kept_in_order():
    result = apply("x > 0")
    assert result.kept.tolist() == [1, 2]
    assert result.table.column("s").to_pylist() == ["x", "3"]
    assert result.errors == ()


def test_null_does_not_match():
    assert apply("x >= 0").kept.tolist() == [0, 1, 2]
    assert apply("NOT (x >= 0)").kept.tolist() == []


def test_nan_is_greater_than_every_number_unless_it_is_asked_for():
    table = pa.table({"x": [6.0, float("nan"), float("inf"), 5.0, None]})
    assert apply("x > 5", table).kept.tolist() == [0, 1, 2]
    assert apply("isfinite(x) AND x > 5", table).kept.tolist() == [0]


def test_a_filter_that_all_rows_match_copies_nothing():
    result = apply("true")
    assert result.table is TABLE
    assert result.kept is None


def test_a_row_on_which_the_filter_fails_is_an_error():
    result = apply("CAST(s AS INTEGER) > 1")
    assert result.kept.tolist() == [2, 3]
    (error,) = result.errors
    assert (error.stage, error.indices.tolist()) == (Stage.FILTER, [1])


def test_all_other_rows_may_match_when_one_fails():
    result = apply("CAST(s AS INTEGER) > 0")
    assert result.kept.tolist() == [0, 2, 3]
    assert len(result.errors) == 1


def test_conditions_are_judged_from_left_to_right():
    assert apply("x <> 0 AND 10 // x > 5").kept.tolist() == [1]
    assert apply("x = 0 OR 10 // x > 5").kept.tolist() == [0, 1]


@pytest.mark.parametrize("expression", ["x", "s", "x + 1"])
def test_a_filter_must_be_boolean(expression):
    with pytest.raises(InvalidJob, match=r"input\.filter") as raised:
        RowFilter(expression, TABLE.schema)
    assert raised.value.reason is Reason.INVALID_SPEC


def test_an_unknown_column_is_refused():
    with pytest.raises(InvalidJob) as raised:
        RowFilter("y > 1", TABLE.schema)
    assert raised.value.reason is Reason.SCHEMA_MISMATCH


def test_required_columns_are_those_of_the_condition():
    assert RowFilter("x > 1", TABLE.schema).required == {"x"}
    assert RowFilter("true", TABLE.schema).required == frozenset()


def test_no_rows_stay_no_rows():
    assert apply("x > 1", TABLE.slice(0, 0)).table.num_rows == 0


def test_the_engine_reads_no_files_and_cannot_be_reconfigured():
    import duckdb

    engine = sql.engine()
    for statement in (
        "SELECT * FROM read_text('/etc/hostname')",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
        "INSTALL httpfs",
        "ATTACH '/tmp/other.db'",
    ):
        with pytest.raises(duckdb.Error):
            engine._cursor().sql(statement).to_arrow_table()


def test_python_variables_are_not_visible_to_sql():
    import duckdb

    secret_table = pa.table({"a": [1]})
    assert isinstance(secret_table, pa.Table)
    assert isinstance(sys, types.ModuleType)
    with pytest.raises(duckdb.Error):
        sql.engine()._cursor().sql("SELECT * FROM secret_table").to_arrow_table()


UNION = pa.sparse_union([pa.field("i", pa.int64()), pa.field("s", pa.string())])


@pytest.mark.parametrize(
    "kind",
    [
        UNION,
        pa.struct([pa.field("u", UNION)]),
        pa.decimal256(50, 1),
        pa.list_(pa.struct([pa.field("d", pa.decimal256(50, 1))])),
    ],
    ids=str,
)
def test_a_type_that_sql_has_not_is_refused_by_the_name_of_its_column(kind):
    schema = pa.schema([pa.field("x", pa.int64()), pa.field("odd", kind)])
    RowFilter("x > 1", schema)
    with pytest.raises(InvalidJob, match=r"column 'odd' is .* cannot be used in SQL") as raised:
        RowFilter("odd IS NOT NULL", schema)
    assert raised.value.reason is Reason.SCHEMA_MISMATCH


@pytest.mark.parametrize(
    ("kind", "value", "condition"),
    [
        (pa.float16(), np.float16(0.5), "odd = 0.5"),
        (pa.list_(pa.float16()), [np.float16(0.5)], "odd[1] = 0.5"),
        (pa.list_(pa.float16(), 2), [np.float16(0), np.float16(0.5)], "odd[2] = 0.5"),
        (pa.list_(pa.list_(pa.float16())), [[], [np.float16(0.5)]], "odd[2][1] = 0.5"),
        (pa.struct([("h", pa.float16())]), {"h": np.float16(0.5)}, "odd.h = 0.5"),
        (pa.map_(pa.string(), pa.float16()), [("k", np.float16(0.5))], "odd['k'] = 0.5"),
        (pa.list_(pa.decimal256(38, 1)), [Decimal("0.5")], "odd[1] = 0.5"),
        (pa.struct([("d", pa.decimal128(3, -2))]), {"d": Decimal(1200)}, "odd.d = 1200"),
    ],
    ids=str,
)
def test_a_type_that_only_arrow_has_is_computed_with_its_values(kind, value, condition):
    table = pa.table({"odd": pa.array([None, value, None], kind)})
    assert RowFilter(condition, table.schema).apply(table).kept.tolist() == [1]
