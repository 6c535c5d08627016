"""Odd names, nested columns and values: none is lost, and none is taken for another."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testkit import onnx_models
from testkit.checked_runs import fail, succeed
from testkit.small_jobs import expected, job_over, score_of, small_table
from testkit.written_tables import write


def test_names_with_spaces_quotes_and_any_script_are_just_names(tmp_path):
    names = ["größe in m", 'sagt "a"', "数,量;x"]
    job = job_over(
        tmp_path,
        "Parquet",
        {
            "model.inputs": [{"name": "input", "columns": names}],
            "output.passthroughFields": ["id", *names],
            "preprocessing.columns": [
                {"name": "zwei mal", "expression": '2 * "größe in m" + "sagt ""a"""'}
            ],
            "input.filter": '"数,量;x" < 8',
            "postprocessing.columns": [{"name": "é'", "expression": 'score + "zwei mal"'}],
        },
    )
    table = small_table().rename_columns(["id", *names])
    pq.write_table(table, tmp_path / "data" / "ä b.parquet")

    result = succeed(job)

    assert result.by("id") == expected(*range(8))
    assert result.column("é'") == [score_of(row) + 3 * row for row in range(8)]
    assert [row[names[1]] for row in result.rows] == list(range(8))


@pytest.mark.parametrize("output_format", ["CSV", "JSONLines", "Arrow"])
def test_odd_names_and_texts_survive_every_output_format(tmp_path, output_format):
    name = 'sagt "a", b\n数'
    texts = ['"', "a,b", "x\ny", "", None, "数 \\ é", "'", "\t", "NULL", "007"]
    table = small_table().append_column(name, pa.array(texts))
    job = job_over(
        tmp_path,
        "Parquet",
        {"output.passthroughFields": ["id", name], "output.format": output_format},
    )
    pq.write_table(table, tmp_path / "data" / "a.parquet")

    result = succeed(job)

    assert result.by("id", name) == dict(enumerate(texts))


@pytest.mark.parametrize("data_format", ["Parquet", "JSONLines", "Arrow"])
def test_nested_columns_are_bound_and_copied_by_their_path(tmp_path, data_format):
    rows = [
        {"id": i, "s": {"a": float(i), "t": {"b": float(i)}, "c": float(i), "x": f"n{i}"}}
        for i in range(9)
    ]
    rows[4]["s"]["t"] = None
    rows[6]["s"] = None
    schema = pa.schema(
        [
            ("id", pa.int64()),
            (
                "s",
                pa.struct(
                    [
                        ("a", pa.float64()),
                        ("t", pa.struct([("b", pa.float64())])),
                        ("c", pa.float64()),
                        ("x", pa.string()),
                    ]
                ),
            ),
        ]
    )
    job = job_over(
        tmp_path,
        data_format,
        {
            "model.inputs": [{"name": "input", "columns": ["s.a", "s.t.b", "s.c"]}],
            "output.passthroughFields": ["id", "s.x"],
        },
    )
    write(pa.Table.from_pylist(rows, schema), tmp_path / "data", "a", data_format)

    result = succeed(job)

    assert result.by("id") == expected(*set(range(9)) - {4, 6})
    assert result.by("id", "s.x") == {i: f"n{i}" for i in set(range(9)) - {4, 6}}
    assert sorted(record["key"] for record in result.rejects) == ["4", "6"]
    assert {record["error"] for record in result.rejects} == {"NullInput"}


def test_nulls_nan_and_infinities_are_told_apart(tmp_path):
    values = [1.0, None, float("nan"), float("inf"), float("-inf"), -0.0]
    table = small_table(6).set_column(1, "a", pa.array(values, pa.float32()))
    job = job_over(tmp_path, "Parquet")
    pq.write_table(table, tmp_path / "data" / "a.parquet")

    result = succeed(job)

    scores = result.by("id")
    assert result.rejected() == [("a.parquet", 1, "Bind", "NullInput")]
    assert np.isnan(scores[2])
    assert (scores[3], scores[4]) == (float("inf"), float("-inf"))
    assert list(scores) == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("data_format", ["Parquet", "CSV", "JSONLines", "Arrow"])
def test_columns_that_differ_only_in_case_are_refused(tmp_path, data_format):
    job = job_over(tmp_path, data_format)
    table = small_table().append_column("ID", pa.array(range(10)))
    write(table, tmp_path / "data", "a", data_format)
    message = fail(job).message
    assert message.startswith("AmbiguousColumn")
    assert "'ID'" in message
    assert "'id'" in message


def test_columns_in_the_thousands_are_one_matrix(tmp_path):
    width, rows = 4096, 20
    names = [f"feature {place}" for place in range(5000)]
    values = np.random.default_rng(1).integers(0, 3, size=(rows, len(names))).astype("f4")
    table = pa.table({"id": pa.array(range(rows)), **dict(zip(names, values.T, strict=True))})
    model = onnx_models.linear(tmp_path / "wide.onnx", width=width)
    job = job_over(
        tmp_path,
        "Parquet",
        {
            "model.storageUri": str(model),
            "model.inputs": [{"name": "input", "columns": names[-width:]}],
            "output.passthroughFields": ["id", names[7]],
        },
    )
    pq.write_table(table, tmp_path / "data" / "a.parquet")

    result = succeed(job)

    wanted = values[:, -width:] @ np.arange(1, width + 1, dtype="f8") + 0.5
    assert np.allclose(result.column("score"), wanted, rtol=1e-5)
    assert result.column(names[7]) == values[:, 7].tolist()


def test_a_byte_order_mark_and_crlf_are_no_data(tmp_path):
    job = job_over(tmp_path, "CSV")
    text = "\ufeffid,a,b,c\r\n0,0,0,0\r\n\r\n1,1,1,1\r\n"
    (tmp_path / "data" / "a.csv").write_bytes(text.encode())
    assert succeed(job).by("id") == expected(0, 1)


def test_gzip_members_one_after_the_other_are_one_text(tmp_path):
    job = job_over(tmp_path, "JSONLines")
    lines = [f'{{"id": {i}, "a": {i}, "b": {i}, "c": {i}}}\n'.encode() for i in range(4)]
    body = gzip.compress(lines[0] + lines[1][:9]) + gzip.compress(
        lines[1][9:] + lines[2] + lines[3]
    )
    (tmp_path / "data" / "a.jsonl.gz").write_bytes(body)
    assert succeed(job).by("id") == expected(0, 1, 2, 3)
