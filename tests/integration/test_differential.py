"""Generated datasets: scores equal a plain ONNX Runtime loop, and who is rejected is predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from testkit import onnx_models
from testkit.checked_runs import succeed
from testkit.jobs import Job
from testkit.written_tables import write

KINDS = {
    "f16": (TensorProto.FLOAT16, pa.float16(), np.float16),
    "f32": (TensorProto.FLOAT, pa.float32(), np.float32),
    "f64": (TensorProto.DOUBLE, pa.float64(), np.float64),
    "i8": (TensorProto.INT8, pa.int8(), np.int8),
    "i32": (TensorProto.INT32, pa.int32(), np.int32),
    "i64": (TensorProto.INT64, pa.int64(), np.int64),
    "u8": (TensorProto.UINT8, pa.uint8(), np.uint8),
    "u64": (TensorProto.UINT64, pa.uint64(), np.uint64),
    "bool": (TensorProto.BOOL, pa.bool_(), np.bool_),
    "text": (TensorProto.STRING, pa.string(), object),
}
# Without shrinking: a failing example is a run of half a second, and shrinking takes hundreds.
FEW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@dataclass(frozen=True)
class Feature:
    """One input of the model: `width` 0 is a scalar column, else a list column."""

    kind: str
    width: int
    values: tuple[Any, ...]

    def is_fit(self, row: int) -> bool:
        value = self.values[row]
        if self.width == 0:
            return value is not None
        return value is not None and len(value) == self.width and None not in value

    @property
    def type(self) -> pa.DataType:
        kind = KINDS[self.kind][1]
        return pa.list_(kind) if self.width else kind


def scalars(kind: str) -> st.SearchStrategy:
    if kind == "bool":
        return st.booleans()
    if kind == "text":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    if kind.startswith("f"):
        return st.floats(width=int(kind[1:]))
    info = np.iinfo(KINDS[kind][2])
    return st.integers(int(info.min), int(info.max))


@st.composite
def features(draw, rows: int) -> Feature:
    kind = draw(st.sampled_from(sorted(KINDS)))
    width = draw(st.sampled_from([0, 0, 1, 3]))
    value = scalars(kind)
    if width:
        whole = st.lists(value, min_size=width, max_size=width)
        ragged = st.lists(st.none() | value, max_size=width + 1)
        value = st.one_of(whole, whole, whole, ragged)
    drawn = draw(st.lists(st.one_of(value, value, value, st.none()), min_size=rows, max_size=rows))
    return Feature(kind, width, tuple(drawn))


@st.composite
def datasets(draw) -> tuple[list[Feature], list[int]]:
    rows = draw(st.integers(1, 40))
    found = draw(st.lists(features(rows), min_size=1, max_size=4))
    cuts = draw(st.lists(st.integers(0, rows), max_size=3))
    return found, sorted({0, rows, *cuts})


def model_of(path: Path, found: list[Feature]) -> Path:
    """Identity of every input, so that a value in the wrong row or place is seen."""
    shapes = [["N", feature.width] if feature.width else ["N"] for feature in found]
    elements = [KINDS[feature.kind][0] for feature in found]
    names = range(len(found))
    return onnx_models.save(
        path,
        [helper.make_node("Identity", [f"in {i}"], [f"out {i}"]) for i in names],
        [(f"in {i}", elements[i], shapes[i]) for i in names],
        [(f"out {i}", elements[i], shapes[i]) for i in names],
    )


def plain_scores(path: Path, found: list[Feature], rows: list[int]) -> list[list[Any]]:
    """One call of ONNX Runtime a row, without any of our code."""
    session = ort.InferenceSession(str(path))
    scores = []
    for row in rows:
        feeds = {
            f"in {i}": np.array([feature.values[row]], dtype=KINDS[feature.kind][2])
            for i, feature in enumerate(found)
        }
        scores.append([np.asarray(value).tolist()[0] for value in session.run(None, feeds)])
    return scores


def comparable(value: Any) -> Any:
    """NaN as something that equals itself; lists of one as their value, as columns have it."""
    if isinstance(value, list):
        return comparable(value[0]) if len(value) == 1 else [comparable(item) for item in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def job_of(folder: Path, model: Path, data_format: str) -> Job:
    return Job(
        folder,
        {
            "model": {"storageUri": str(model)},
            "input": {"storageUris": ["data/"], "format": data_format, "keyField": "id"},
            "output": {"storageUri": "output/", "format": "Arrow"},
            "batching": {"batchSize": 5},
        },
    )


@FEW
@given(dataset=datasets(), data_format=st.sampled_from(["Parquet", "Arrow"]))
def test_scores_and_rejects_are_those_of_a_plain_loop(tmp_path_factory, dataset, data_format):
    found, cuts = dataset
    folder = tmp_path_factory.mktemp("job")
    rows = len(found[0].values)
    columns = {f"in {i}": pa.array(each.values, each.type) for i, each in enumerate(found)}
    table = pa.table({"id": pa.array(range(rows)), **columns})
    for number, (first, last) in enumerate(pairwise(cuts)):
        write(table.slice(first, last - first), folder / "data", f"{number}", data_format)
    model = model_of(folder / "model.onnx", found)

    result = succeed(job_of(folder, model, data_format))

    fit = [row for row in range(rows) if all(feature.is_fit(row) for feature in found)]
    assert result.column("id") == fit
    scores = [[comparable(row[f"out {i}"]) for i in range(len(found))] for row in result.rows]
    wanted = [[comparable(value) for value in row] for row in plain_scores(model, found, fit)]
    assert scores == wanted
    starts = {f"{number}.{data_format.lower()}": first for number, first in enumerate(cuts[:-1])}
    lost = sorted(starts[file] + place for file, place, _, _ in result.rejected())
    assert lost == sorted(set(range(rows)) - set(fit))
    assert sorted(int(record["key"]) for record in result.rejects) == lost
    assert {stage for _, _, stage, _ in result.rejected()} <= {"Bind"}


@FEW
@given(
    numbers=st.lists(st.none() | st.floats(width=32), min_size=1, max_size=60),
    filtered=st.integers(2, 5),
    group=st.integers(1, 20),
)
def test_filters_and_expressions_agree_with_a_plain_loop(
    tmp_path_factory, numbers, filtered, group
):
    folder = tmp_path_factory.mktemp("job")
    rows = len(numbers)
    table = pa.table({"id": pa.array(range(rows)), "x": pa.array(numbers, pa.float32())})
    (folder / "data").mkdir()
    pq.write_table(table, folder / "data" / "a.parquet", row_group_size=group)
    model = onnx_models.linear(folder / "m.onnx", width=2)
    job = job_of(folder, model, "Parquet")
    job.spec["input"]["filter"] = f"id % {filtered} <> 1"
    job.spec["preprocessing"] = {
        "columns": [{"name": "back", "expression": "CAST(100 // (id - 3) AS FLOAT)"}]
    }
    binding = {"name": "input", "columns": ["x", "back"]}
    output = {"name": "score", "column": "score", "nonFinite": "Reject"}
    job.spec["model"].update(inputs=[binding], outputs=[output])

    result = succeed(job)

    session = ort.InferenceSession(str(model))
    wanted, lost = {}, {}
    for row, number in enumerate(numbers):
        if row % filtered == 1:
            continue
        if row == 3:
            lost[row] = "Preprocess"
            continue
        if number is None:
            lost[row] = "Bind"
            continue
        back = int(100 / (row - 3))
        feeds = np.array([[number, back]], dtype=np.float32)
        score = session.run(None, {"input": feeds})[0][0, 0]
        if np.isfinite(score):
            wanted[row] = float(score)
        else:
            lost[row] = "Infer"
    assert result.by("id") == wanted
    assert {place: stage for _, place, stage, _ in result.rejected()} == lost
    assert result.counts["filtered"] == rows - len(wanted) - len(lost)
