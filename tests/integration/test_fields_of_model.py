"""What every field of spec.model, preprocessing and postprocessing does to a real run."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pyarrow as pa
import pytest

from testkit import onnx_models
from testkit.in_process import run, validate
from testkit.small_jobs import column_job, linear_job, score_of, set_fields

NULLABLE = pa.table({"id": [0, 1, 2], "x": pa.array([1.0, None, float("nan")], pa.float32())})


@pytest.mark.parametrize("uri", ["folder/", "folder", "folder/net.onnx"])
def test_storage_uri_may_be_a_file_or_a_folder_with_external_data(tmp_path, uri):
    (tmp_path / "folder").mkdir()
    model = onnx_models.with_external_data(tmp_path / "folder" / "net.onnx")
    table = pa.table({"id": [0, 1], "input": [[0.0] * 300, [1.0] + [0.0] * 299]})
    job = column_job(tmp_path, model, table, {"model.storageUri": uri})
    job.spec["preprocessing"] = {
        "columns": [{"name": "features", "expression": "CAST(input AS FLOAT[])"}]
    }
    job.spec["model"]["inputs"] = [{"name": "input", "columns": ["features"]}]
    assert run(job).code == 0
    assert [row["score"] for row in job.rows()] == [0.5, 1.5]


def test_a_model_format_that_is_not_scored_is_refused(tmp_path):
    ended = run(linear_job(tmp_path, {"model.modelFormat.name": "pickle"}))
    assert ended.code == 65
    assert "spec.model.modelFormat.name: " in ended.message
    assert "onnx" in ended.message


def test_digest_is_compared_with_the_bytes_of_the_model(tmp_path):
    job = linear_job(tmp_path)
    digest = f"sha256:{hashlib.sha256((tmp_path / 'model.onnx').read_bytes()).hexdigest()}"
    ended = run(set_fields(job, {"model.digest": digest}))
    assert ended.result["report"]["model"]["resolvedDigest"] == digest
    set_fields(job, {"model.digest": "sha256:" + "0" * 64, "output.mode": "Overwrite"})
    assert "ModelDigestMismatch" in run(job).message


def test_inputs_name_and_columns_bind_in_the_order_that_is_given(tmp_path):
    job = linear_job(tmp_path)
    job.spec["preprocessing"] = {"columns": [{"name": "ten", "expression": "10.0"}]}
    job.spec["model"]["inputs"] = [{"name": "input", "columns": ["ten", "a", "b"]}]
    assert validate(job).result["model"]["inputs"] == [
        {"name": "input", "type": "float", "columns": ["ten", "a", "b"]}
    ]
    run(job)
    assert [row["score"] for row in job.rows()] == [10 + 5.0 * row + 0.5 for row in range(10)]


@pytest.mark.parametrize(
    ("binding", "scored"),
    [
        ({}, {0: 1.0, 2: "nan"}),
        ({"nulls": "Reject"}, {0: 1.0, 2: "nan"}),
        ({"nulls": "NaN"}, {0: 1.0, 1: "nan", 2: "nan"}),
        ({"fillValue": "7"}, {0: 1.0, 1: 7.0, 2: "nan"}),
    ],
)
def test_inputs_nulls_and_fill_value_decide_what_a_null_is(tmp_path, binding, scored):
    model = onnx_models.identity(tmp_path / "m.onnx", onnx.TensorProto.FLOAT)
    job = column_job(tmp_path, model, NULLABLE)
    job.spec["model"]["inputs"] = [{"name": "x", "columns": ["x"], **binding}]
    assert run(job).code == 0
    assert {row["id"]: number(row["y"]) for row in job.rows()} == scored
    assert [reject["error"] for reject in job.rejects()] == ["NullInput"] * (3 - len(scored))


@pytest.mark.parametrize(
    ("data_format", "text"),
    [("CSV", "id,x\n0,\n1,\n"), ("JSONLines", '{"id": 0, "x": null}\n{"id": 1, "x": null}\n')],
)
def test_a_text_column_of_nulls_only_is_a_number_where_nulls_are_nan(tmp_path, data_format, text):
    model = onnx_models.identity(tmp_path / "m.onnx", onnx.TensorProto.FLOAT)
    job = column_job(tmp_path, model, NULLABLE, {"input.format": data_format})
    (tmp_path / "input" / "0.parquet").unlink()
    (tmp_path / "input" / "0.txt").write_text(text)
    job.spec["model"]["inputs"] = [{"name": "x", "columns": ["x"], "nulls": "NaN"}]
    assert run(job).code == 0
    assert {row["id"]: number(row["y"]) for row in job.rows()} == {0: "nan", 1: "nan"}


@pytest.mark.parametrize(("policy", "ids"), [("Allow", [0, 2]), ("Reject", [0])])
def test_outputs_non_finite_decides_about_nan(tmp_path, policy, ids):
    model = onnx_models.identity(tmp_path / "m.onnx", onnx.TensorProto.FLOAT)
    output = {"name": "y", "column": "y", "nonFinite": policy}
    job = column_job(tmp_path, model, NULLABLE, {"model.outputs": [output]})
    assert run(job).code == 0
    assert [row["id"] for row in job.rows()] == ids


def test_outputs_name_column_index_and_class_label_pick_columns(tmp_path):
    job = linear_job(tmp_path, {"model.storageUri": "zipmap.onnx"})
    model = onnx.load(onnx_models.zipmap(tmp_path / "zipmap.onnx"))
    (features,) = (value.name for value in model.graph.input)
    maps = next(v.name for v in model.graph.output if v.type.HasField("sequence_type"))
    job.spec["preprocessing"] = {"columns": [{"name": "d", "expression": "a * 0.5"}]}
    job.spec["model"]["inputs"] = [{"name": features, "columns": ["a", "d"]}]
    job.spec["model"]["outputs"] = [
        {"name": maps, "column": "p_yes", "classLabel": "yes"},
        {"name": maps, "column": "p_no", "classLabel": "no"},
    ]
    assert run(job).code == 0
    rows = job.rows()
    assert rows[0].keys() == {"id", "p_yes", "p_no"}
    assert any(row["p_yes"] != row["p_no"] for row in rows)


def test_outputs_index_picks_one_column_of_a_matrix(tmp_path):
    job = linear_job(tmp_path, {"model.storageUri": "matrix.onnx"})
    onnx_models.identity(tmp_path / "matrix.onnx", onnx.TensorProto.FLOAT, ("N", 3))
    job.spec["preprocessing"] = {"columns": [{"name": "d", "expression": "a * 10"}]}
    job.spec["model"]["inputs"] = [{"name": "x", "columns": ["a", "d", "c"]}]
    job.spec["model"]["outputs"] = [{"name": "y", "column": "middle", "index": 1}]
    assert run(job).code == 0
    assert [row["middle"] for row in job.rows()] == [10.0 * row for row in range(10)]


def test_preprocessing_columns_feed_the_model_and_postprocessing_columns_the_output(tmp_path):
    job = linear_job(
        tmp_path,
        {
            "preprocessing.columns": [
                {"name": "half", "expression": "a / 2"},
                {"name": "again", "expression": "half * 2"},
            ],
            "postprocessing.columns": [
                {"name": "label", "expression": "CASE WHEN score > 30 THEN 'high' ELSE 'low' END"},
                {"name": "shout", "expression": "upper(label)"},
            ],
        },
    )
    job.spec["model"]["inputs"][0]["columns"] = ["again", "b", "c"]
    assert run(job).code == 0
    for row in job.rows():
        label = "high" if score_of(row["id"]) > 30 else "low"
        assert row == {**row, "score": score_of(row["id"]), "label": label, "shout": label.upper()}


def number(value: float) -> float | str:
    """NaN as text, which equals itself."""
    return "nan" if value != value else value


def test_an_input_to_which_the_model_gives_a_value_itself_takes_no_columns(tmp_path):
    model = onnx_models.save(
        tmp_path / "m.onnx",
        [onnx.helper.make_node("Mul", ["x", "k"], ["y"])],
        [("x", onnx.TensorProto.FLOAT, ["N"]), ("k", onnx.TensorProto.FLOAT, [1])],
        [("y", onnx.TensorProto.FLOAT, ["N"])],
        [("k", np.array([3.0], np.float32))],
    )
    job = column_job(tmp_path, model, pa.table({"id": [0, 1], "x": [1.0, 2.0]}))
    assert run(job).code == 0
    assert [row["y"] for row in job.rows()] == [3.0, 6.0]

    job.spec["model"]["inputs"] = [{"name": "k", "columns": ["x"]}]
    ended = run(job)
    assert ended.code == 65
    assert "names 'k', which the model gives a value itself" in ended.message


def test_a_class_that_the_model_does_not_have_is_refused_before_the_output_is_claimed(tmp_path):
    model = onnx_models.zipmap(tmp_path / "zip.onnx", labels=(0, 1))
    picked = {"name": "probability", "column": "p", "classLabel": "7"}
    table = pa.table({"id": range(4), "x": [[0.0, 1.0]] * 4})
    job = column_job(tmp_path, model, table, {"model.outputs": [picked]})

    for ended in (validate(job), run(job)):
        assert ended.code == 65
        assert ended.message.startswith("SchemaMismatch")
        assert "picks class 7 of output 'probability'" in ended.message
        assert not [path for path in job.output.rglob("*") if path.is_file()]
