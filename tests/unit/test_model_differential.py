"""Generated tables through one input a column, against what ONNX Runtime is given plainly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from testkit import onnx_models
from testkit.scorers import make_scorer, rejected, run_plainly

ELEMENTS = {
    "f16": (TensorProto.FLOAT16, pa.float16(), np.float16),
    "f32": (TensorProto.FLOAT, pa.float32(), np.float32),
    "f64": (TensorProto.DOUBLE, pa.float64(), np.float64),
    "i8": (TensorProto.INT8, pa.int8(), np.int8),
    "i16": (TensorProto.INT16, pa.int16(), np.int16),
    "i32": (TensorProto.INT32, pa.int32(), np.int32),
    "i64": (TensorProto.INT64, pa.int64(), np.int64),
    "u8": (TensorProto.UINT8, pa.uint8(), np.uint8),
    "u16": (TensorProto.UINT16, pa.uint16(), np.uint16),
    "u32": (TensorProto.UINT32, pa.uint32(), np.uint32),
    "u64": (TensorProto.UINT64, pa.uint64(), np.uint64),
    "bool": (TensorProto.BOOL, pa.bool_(), np.bool_),
    "text": (TensorProto.STRING, pa.string(), object),
}


def values_of(kind: str) -> st.SearchStrategy:
    if kind == "bool":
        return st.booleans()
    if kind == "text":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    if kind.startswith("f"):
        return st.floats(width=int(kind[1:]))
    info = np.iinfo(ELEMENTS[kind][2])
    return st.integers(int(info.min), int(info.max))


@st.composite
def tables(draw) -> tuple[tuple[str, ...], list[pa.Table], int]:
    kinds = tuple(
        draw(st.lists(st.sampled_from(sorted(ELEMENTS)), min_size=1, max_size=4, unique=True))
    )
    rows = draw(st.integers(1, 24))
    arrays = {}
    for kind in kinds:
        column = st.lists(st.none() | values_of(kind), min_size=rows, max_size=rows)
        arrays[kind] = pa.array(draw(column), ELEMENTS[kind][1])
    table = pa.table(arrays)
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=2)))
    bounds = [0, *cuts, rows]
    chunks = [table.slice(a, b - a) for a, b in pairwise(bounds)]
    return kinds, chunks, draw(st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(generated=tables())
def test_every_type_reaches_the_model_as_it_is_and_comes_back(tmp_path_factory, generated):
    kinds, chunks, batch_size = generated
    table = pa.concat_tables(chunks)
    path = tmp_path_factory.getbasetemp() / f"identity-{'-'.join(kinds)}.onnx"
    if not path.exists():
        onnx_models.one_input_a_column(path, {kind: ELEMENTS[kind][0] for kind in kinds})

    result = make_scorer(path, table.schema, batch_size=batch_size).score(table)

    rows = table.to_pylist()
    whole = [i for i, row in enumerate(rows) if None not in row.values()]
    assert set(rejected(result).values()) <= {"NullInput"}
    assert sorted(rejected(result)) == sorted(set(range(len(rows))) - set(whole))
    # As text: there NaN is NaN, and -0.0 not 0.0.
    assert str(result.table.select(kinds).to_pylist()) == str([rows[i] for i in whole])
    if whole:
        feeds = {
            kind: np.array([rows[i][kind] for i in whole], ELEMENTS[kind][2])[:, None]
            for kind in kinds
        }
        expected = run_plainly(path, feeds)
        for kind, values in zip(kinds, expected, strict=True):
            np.testing.assert_array_equal(
                np.array(result.table[f"{kind}_out"].to_pylist(), ELEMENTS[kind][2]), values[:, 0]
            )
