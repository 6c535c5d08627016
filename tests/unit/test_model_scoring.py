"""Tables through models: scores equal plain ONNX Runtime, and exactly the bad rows are rejected."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from batch_inference_api.choices import NullPolicy
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ModelInputBinding, ModelOutputBinding
from batch_inference_runner.errors import InvalidJob, JobFailed
from batch_inference_runner.rows import Stage
from testkit import onnx_models
from testkit.scorers import make_scorer, rejected, run_plainly


def test_columns_become_the_matrix_and_scores_equal_plain_onnx_runtime(tmp_path):
    path = onnx_models.mlp(tmp_path / "m.onnx", width=5)
    names = tuple("edcba")
    values = np.random.default_rng(0).normal(size=(5000, 5)).astype(np.float32)
    columns = {name: values[:, i] for i, name in enumerate(names)}
    table = pa.table({"id": range(5000), **dict(sorted(columns.items()))})
    scorer = make_scorer(
        path,
        table.schema,
        inputs=(ModelInputBinding(name="input", columns=names),),
        batch_size=1000,
    )

    result = scorer.score(table)

    assert scorer.required == set(names)
    assert scorer.added == (pa.field("score", pa.float32()),)
    assert result.kept is None
    assert result.table.column_names == [*table.column_names, "score"]
    assert result.table.drop_columns("score").equals(table)
    expected = run_plainly(path, {"input": values})[0][:, 0]
    np.testing.assert_allclose(
        np.array(result.table["score"].to_pylist(), np.float32), expected, rtol=1e-5
    )


def test_chunked_and_sliced_columns_are_read_where_they_are(tmp_path):
    path = onnx_models.linear(tmp_path / "m.onnx", width=2)
    whole = pa.table(
        {"a": pa.array(range(100), pa.float32()), "b": pa.array([1.0] * 100, pa.float32())}
    )
    table = pa.concat_tables([whole.slice(3, 10), whole.slice(50, 7), whole.slice(99)])
    scorer = make_scorer(
        path, table.schema, inputs=(ModelInputBinding(name="input", columns=("a", "b")),)
    )

    scores = scorer.score(table).table["score"].to_pylist()

    assert scores == [a + 2.5 for a in table["a"].to_pylist()]


LISTS = pa.list_(pa.float32())


@pytest.mark.parametrize("type_", [LISTS, pa.large_list(pa.float64()), pa.list_(pa.float32(), 3)])
@pytest.mark.parametrize("start", [0, 2])
def test_list_rows_that_are_null_or_too_short_are_rejected_and_nothing_shifts(
    tmp_path, type_, start
):
    path = onnx_models.linear(tmp_path / "m.onnx", width=3)
    fixed = pa.types.is_fixed_size_list(type_)
    rows = [
        [1, 1, 1],
        [2, 0, 0],
        None,
        [3, 0, 0],
        [1, 2] if not fixed else None,
        [4, None, 0],
        [5, 0, 0],
    ]
    table = pa.table({"input": pa.array(rows, type_)}).slice(start)
    scorer = make_scorer(path, table.schema)

    result = scorer.score(table)

    expected = {2: "NullInput", 4: "NullInput" if fixed else "WrongLength", 5: "NullInput"}
    assert rejected(result) == {row - start: error for row, error in expected.items()}
    good = [row for row in (0, 1, 3, 6) if row >= start]
    assert result.kept.tolist() == [row - start for row in good]
    scores = {0: 6.5, 1: 2.5, 3: 3.5, 6: 5.5}
    assert result.table["score"].to_pylist() == [scores[row] for row in good]


def test_nested_lists_feed_inputs_of_more_dimensions_and_come_back_nested(tmp_path):
    path = onnx_models.identity(tmp_path / "m.onnx", TensorProto.FLOAT, ("N", 2, 3))
    type_ = pa.list_(pa.list_(pa.float32()))
    good = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    rows = [good, [[1.0], [2.0]], None, [[1.0, 2.0, 3.0], None], good[::-1]]
    table = pa.table({"x": pa.array(rows, type_)})

    result = make_scorer(path, table.schema).score(table)

    assert rejected(result) == {1: "WrongLength", 2: "NullInput", 3: "NullInput"}
    assert result.table["y"].to_pylist() == [good, good[::-1]]
    assert result.table["y"].type == type_


@pytest.mark.parametrize(
    ("column", "binding", "scores", "errors"),
    [
        pytest.param([1.0, None, 3.0], {}, [1.0, 3.0], {1: "NullInput"}, id="rejected unasked"),
        pytest.param(
            [1.0, None, 3.0], {"nulls": NullPolicy.NAN}, [1.0, math.nan, 3.0], {}, id="NaN"
        ),
        pytest.param([1.0, None, 3.0], {"fill_value": "-1"}, [1.0, -1.0, 3.0], {}, id="filled"),
        pytest.param([None, None], {}, [], {0: "NullInput", 1: "NullInput"}, id="nothing left"),
    ],
)
def test_nulls_never_reach_a_model_unasked(tmp_path, column, binding, scores, errors):
    path = onnx_models.identity(tmp_path / "m.onnx", TensorProto.FLOAT)
    table = pa.table({"a": pa.array(column, pa.float64())})
    bound = ModelInputBinding(name="x", columns=("a",), **binding)

    result = make_scorer(path, table.schema, inputs=(bound,)).score(table)

    np.testing.assert_equal(result.table["y"].to_pylist(), scores)
    assert rejected(result) == errors
    assert all(error.stage is Stage.BIND for error in result.errors)


@pytest.mark.parametrize("binding", [{"nulls": NullPolicy.NAN}, {"fill_value": "7"}])
def test_a_list_that_is_missing_is_not_made_up(tmp_path, binding):
    path = onnx_models.linear(tmp_path / "m.onnx", width=2)
    table = pa.table({"a": pa.array([[1, 1], None, [None, 1]], pa.list_(pa.float32(), 2))})
    bound = ModelInputBinding(name="input", columns=("a",), **binding)

    result = make_scorer(path, table.schema, inputs=(bound,)).score(table)

    assert rejected(result) == {1: "NullInput"}
    assert result.table.num_rows == 2


def test_null_strings_are_rejected_and_text_that_says_none_is_not(tmp_path):
    path = onnx_models.identity(tmp_path / "m.onnx", TensorProto.STRING)
    words = ["None", None, "a\0b", "", "ß"]
    for type_ in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        table = pa.table({"x": pa.array(words, type_)})

        result = make_scorer(path, table.schema).score(table)

        assert rejected(result) == {1: "NullInput"}
        assert result.table["y"].to_pylist() == ["None", "a\0b", "", "ß"]


def test_values_beyond_the_range_of_the_input_are_rejected(tmp_path):
    floats = onnx_models.identity(tmp_path / "f.onnx", TensorProto.FLOAT)
    table = pa.table({"x": [1e300, 0.1, math.inf, math.nan, -1e39]})
    result = make_scorer(floats, table.schema).score(table)
    assert rejected(result) == {0: "Overflow", 4: "Overflow"}
    np.testing.assert_equal(
        result.table["y"].to_pylist(), [float(np.float32(0.1)), math.inf, math.nan]
    )

    bytes_ = onnx_models.identity(tmp_path / "b.onnx", TensorProto.INT8)
    table = pa.table({"x": pa.array([127, 128, None, -128, -129], pa.int64())})
    result = make_scorer(bytes_, table.schema).score(table)
    assert rejected(result) == {1: "OutOfRange", 2: "NullInput", 4: "OutOfRange"}
    assert result.table["y"].to_pylist() == [127, -128]

    unsigned = onnx_models.identity(tmp_path / "u.onnx", TensorProto.UINT64)
    table = pa.table({"x": pa.array([-1, 2**62], pa.int64())})
    assert rejected(make_scorer(unsigned, table.schema).score(table)) == {0: "OutOfRange"}
    signed = onnx_models.identity(tmp_path / "s.onnx", TensorProto.INT64)
    table = pa.table({"x": pa.array([2**63, 2**53 + 1], pa.uint64())})
    result = make_scorer(signed, table.schema).score(table)
    assert rejected(result) == {0: "OutOfRange"}
    assert result.table["y"].to_pylist() == [2**53 + 1]


def test_a_row_that_the_model_refuses_is_found_and_its_neighbours_are_scored(tmp_path):
    path = onnx_models.gather(tmp_path / "m.onnx")
    index = np.tile([0, 1, 2], 100)
    index[[0, 57, 299]] = 999_777
    table = pa.table({"index": index})

    result = make_scorer(path, table.schema, batch_size=64).score(table)

    assert rejected(result) == dict.fromkeys((0, 57, 299), "InferenceError")
    assert "Gather node failed" in result.errors[0].message
    assert "999777" not in result.errors[0].message
    good = np.delete(index, [0, 57, 299])
    assert result.table["value"].to_pylist() == ((good + 1) * 10).tolist()


def test_a_fixed_batch_is_filled_up_and_only_real_rows_come_back(tmp_path):
    path = onnx_models.linear(tmp_path / "m.onnx", width=1, batch=4)
    table = pa.table({"input": pa.array(range(10), pa.float32())})
    scorer = make_scorer(path, table.schema)

    assert scorer.score(table).table["score"].to_pylist() == [i + 0.5 for i in range(10)]
    assert scorer.batch_size == 4


def test_a_declared_output_shape_of_one_is_not_believed(tmp_path):
    model = onnx.load(onnx_models.identity(tmp_path / "m.onnx", TensorProto.INT64))
    model.graph.output[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "m.onnx")
    table = pa.table({"x": pa.array([5, 6, 7], pa.int64())})

    assert make_scorer(tmp_path / "m.onnx", table.schema).score(table).table["y"].to_pylist() == [
        5,
        6,
        7,
    ]


def test_an_output_without_a_declared_shape_is_measured(tmp_path):
    model = onnx.load(onnx_models.identity(tmp_path / "m.onnx", TensorProto.FLOAT, ("N", 2)))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "m.onnx")
    table = pa.table({"x": pa.array([[1.0, 2.0]], pa.list_(pa.float32()))})

    result = make_scorer(tmp_path / "m.onnx", table.schema).score(table).table

    assert result["y"].to_pylist() == [[1.0, 2.0]]


def test_no_rows_give_the_right_schema(tmp_path):
    path = onnx_models.mlp(tmp_path / "m.onnx", width=2)
    table = pa.table({"input": pa.array([], pa.list_(pa.float32(), 2))})
    scorer = make_scorer(path, table.schema)
    scorer.probe(table)

    result = scorer.score(table)

    assert result.table.num_rows == 0
    assert result.table.schema.field("score").type == pa.float32()


@pytest.mark.parametrize("build", [onnx_models.softmax_over_rows, onnx_models.compress])
def test_a_model_that_does_not_score_row_by_row_is_refused(tmp_path, build):
    table = pa.table({"x": pa.array([1.0, 2.0, -3.0, 4.0] * 10, pa.float32())})
    scorer = make_scorer(build(tmp_path / "m.onnx"), table.schema)

    with pytest.raises(JobFailed, match="batchSize: 1") as caught:
        scorer.probe(table)

    assert caught.value.reason is Reason.MODEL_NOT_ROWWISE


@pytest.mark.parametrize("batch_size", [1, None])
def test_scoring_row_by_row_is_not_advised_where_a_single_row_has_no_score(tmp_path, batch_size):
    path = onnx_models.compress(tmp_path / "m.onnx")
    table = pa.table({"x": pa.array([-1.0, 2.0], pa.float32())})

    with pytest.raises(JobFailed, match=r"0 rows for 1 row\(s\)") as caught:
        make_scorer(path, table.schema, batch_size=batch_size).score(table)

    assert caught.value.reason is Reason.MODEL_NOT_ROWWISE
    assert "batchSize" not in caught.value.message


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_row_whose_output_is_longer_is_not_blamed_on_the_batch_size(tmp_path, batch):
    path = onnx_models.save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Cast", ["x"], ["most"], to=TensorProto.INT64),
            helper.make_node("ReduceMax", ["most"], ["end"], keepdims=0),
            helper.make_node("Range", ["zero", "end", "one"], ["row"]),
            helper.make_node("Mul", ["most", "row"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [batch, 1])],
        [("y", TensorProto.INT64, [batch, "K"])],
        [("zero", np.int64(0)), ("one", np.int64(1))],
    )
    table = pa.table({"x": pa.array([2.0, 2.0, 3.0], pa.float32())})
    scorer = make_scorer(path, table.schema, batch_size=1)

    with pytest.raises(JobFailed, match=r"'y' has shape \[2\] .* and shape \[3\]") as caught:
        scorer.score(table)

    assert caught.value.reason is Reason.MODEL_UNSUPPORTED
    assert "batchSize" not in caught.value.message


def test_an_output_that_is_not_of_rows_can_be_left_out(tmp_path):
    path = onnx_models.save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Identity", ["x"], ["score"]),
            helper.make_node("Identity", ["names"], ["classes"]),
        ],
        [("x", TensorProto.FLOAT, ["N"])],
        [("score", TensorProto.FLOAT, ["N"]), ("classes", TensorProto.STRING, [3])],
        [("names", np.array(["a", "b", "c"], dtype=object))],
    )
    table = pa.table({"x": pa.array([1.0, 2.0], pa.float32())})

    with pytest.raises(JobFailed, match=r"'classes' has 3 rows .* spec\.model\.outputs"):
        make_scorer(path, table.schema).probe(table)

    kept = make_scorer(
        path, table.schema, outputs=(ModelOutputBinding(name="score", column="score"),)
    )
    kept.probe(table)
    assert kept.score(table).table["score"].to_pylist() == [1.0, 2.0]


def test_a_model_that_depends_on_the_batch_is_accepted_one_row_at_a_time(tmp_path):
    path = onnx_models.softmax_over_rows(tmp_path / "m.onnx")
    table = pa.table({"x": pa.array([1.0, 2.0, 3.0], pa.float32())})
    scorer = make_scorer(path, table.schema, batch_size=1)

    scorer.probe(table)

    assert scorer.score(table).table["score"].to_pylist() == [1.0, 1.0, 1.0]


def test_probing_passes_over_rows_that_cannot_be_scored(tmp_path):
    table = pa.table({"index": pa.array([99, 98, 0, 1, 2] * 20, pa.int64())})
    scorer = make_scorer(onnx_models.gather(tmp_path / "m.onnx"), table.schema)

    scorer.probe(table)

    assert len(rejected(scorer.score(table))) == 40


def test_an_execution_provider_that_is_not_there_is_refused(tmp_path):
    path = onnx_models.linear(tmp_path / "m.onnx", width=1)
    schema = pa.schema([("input", pa.float32())])
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")

    with pytest.raises(InvalidJob, match="CPUExecutionProvider") as caught:
        make_scorer(path, schema, execution_providers=wanted)

    assert caught.value.reason is Reason.ACCELERATOR_UNAVAILABLE
    fallen_back = make_scorer(
        path, schema, execution_providers=wanted, allow_provider_fallback=True
    )
    assert fallen_back.provider == "CPUExecutionProvider"


def test_a_model_that_onnx_runtime_cannot_load_is_refused_with_what_to_do(tmp_path):
    path = onnx_models.linear(tmp_path / "m.onnx", width=1)
    model = onnx.load(path)
    model.ir_version = 99
    onnx.save(model, path)

    with pytest.raises(InvalidJob, match="Export it again") as caught:
        make_scorer(path, pa.schema([("input", pa.float32())]))

    assert caught.value.reason is Reason.MODEL_UNSUPPORTED
    assert "FAIL : Unsupported model IR version: 99, max supported" in str(caught.value)


def test_a_model_that_asks_for_a_locale_that_is_not_there_says_how_to_get_it(tmp_path):
    lower = helper.make_node(
        "StringNormalizer", ["text"], ["y"], case_change_action="LOWER", locale="xx_YY.UTF-8"
    )
    path = onnx_models.save(
        tmp_path / "m.onnx",
        [lower],
        [("text", TensorProto.STRING, ["N"])],
        [("y", TensorProto.STRING, ["N"])],
    )

    with pytest.raises(InvalidJob, match=r"localedef -i xx_YY -f UTF-8 xx_YY\.UTF-8") as caught:
        make_scorer(path, pa.schema([("text", pa.string())]))

    assert caught.value.reason is Reason.MODEL_UNSUPPORTED


def test_threads_share_one_scorer(tmp_path):
    path = onnx_models.mlp(tmp_path / "m.onnx", width=8)
    names = tuple("abcdefgh")
    rng = np.random.default_rng(5)
    tables = [
        pa.table({name: rng.normal(size=rows).astype(np.float32) for name in names})
        for rows in (1000, 3001, 17, 2048) * 4
    ]
    bound = ModelInputBinding(name="input", columns=names)
    scorer = make_scorer(path, tables[0].schema, inputs=(bound,), batch_size=256)
    alone = [scorer.score(table).table for table in tables]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda table: scorer.score(table).table, tables))

    assert all(a.equals(b) for a, b in zip(alone, together, strict=True))
