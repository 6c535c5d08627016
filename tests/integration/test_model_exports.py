"""Models as scikit-learn and LightGBM users export them, scored as the libraries themselves do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from batch_inference_api.runner_contract import ModelInputBinding, ModelOutputBinding
from batch_inference_runner.errors import InvalidJob
from testkit import onnx_models
from testkit.scorers import make_scorer

RNG = np.random.default_rng(11)
ROWS = 500


def one_column_each(columns: dict[str, np.ndarray]):
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    kinds = {"f": FloatTensorType, "i": Int64TensorType}
    return [
        (name, kinds.get(values.dtype.kind, StringTensorType)([None, 1]))
        for name, values in columns.items()
    ]


@pytest.mark.parametrize("zipmap", [True, False, "columns"])
def test_a_pipeline_over_mixed_columns_scores_as_in_scikit_learn(tmp_path, zipmap):
    import pandas as pd
    from skl2onnx import to_onnx
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = {
        "age": RNG.normal(40, 10, ROWS).astype(np.float32),
        "visits": RNG.integers(0, 9, ROWS),
        "city": RNG.choice(["Oslo", "Rom", "Köln"], ROWS).astype(object),
    }
    frame = pd.DataFrame(columns)
    target = (columns["age"] + 5 * columns["visits"] > 60).astype(int)
    pipeline = make_pipeline(
        ColumnTransformer(
            [("numbers", StandardScaler(), ["age", "visits"]), ("texts", OneHotEncoder(), ["city"])]
        ),
        LogisticRegression(),
    ).fit(frame, target)
    model = to_onnx(pipeline, initial_types=one_column_each(columns), options={"zipmap": zipmap})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    table = pa.table({name: pa.array(values.tolist()) for name, values in columns.items()})
    outputs = {
        True: ModelOutputBinding(name="output_probability", column="p", class_label="1"),
        False: ModelOutputBinding(name="probabilities", column="p", index=1),
        "columns": ModelOutputBinding(name="i1", column="p"),
    }
    scorer = make_scorer(tmp_path / "m.onnx", table.schema, outputs=(outputs[zipmap],))

    scores = scorer.score(table).table["p"].to_pylist()

    np.testing.assert_allclose(scores, pipeline.predict_proba(frame)[:, 1], atol=1e-4)
    everything = make_scorer(tmp_path / "m.onnx", table.schema).score(table).table
    label = "label" if zipmap is False else "output_label"
    assert everything[label].to_pylist() == pipeline.predict(frame).tolist()


@pytest.mark.parametrize("kind", ["RandomForestRegressor", "DecisionTreeRegressor"])
@pytest.mark.parametrize("targets", [1, 3])
def test_trees_give_every_target_although_one_is_declared(tmp_path, kind, targets):
    from skl2onnx import to_onnx
    from sklearn import ensemble, tree

    values = RNG.normal(size=(ROWS, 4)).astype(np.float32)
    model = (getattr(ensemble, kind, None) or getattr(tree, kind))(max_depth=3, random_state=0)
    model.fit(values, values[:, :targets].squeeze() * 2)
    exported = to_onnx(model, values[:1])
    assert exported.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 1
    (tmp_path / "m.onnx").write_bytes(exported.SerializeToString())
    table = pa.table({"X": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 4)})
    expected = model.predict(values).reshape(ROWS, targets)
    last = ModelOutputBinding(name="variable", column="last", index=targets - 1)

    whole = make_scorer(tmp_path / "m.onnx", table.schema)
    picked = make_scorer(tmp_path / "m.onnx", table.schema, outputs=(last,))

    number = pa.float32()
    assert whole.added[0].type == (number if targets == 1 else pa.list_(number))
    scores = np.array(whole.score(table).table["variable"].to_pylist()).reshape(ROWS, targets)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    column = picked.score(table).table["last"].to_pylist()
    np.testing.assert_allclose(column, expected[:, -1], atol=1e-4)
    beyond = ModelOutputBinding(name="variable", column="c", index=targets)
    with pytest.raises(InvalidJob, match=rf"holds {targets} value\(s\) a row"):
        make_scorer(tmp_path / "m.onnx", table.schema, outputs=(beyond,))


@pytest.mark.parametrize("seed", range(10))
def test_sums_whose_large_terms_cancel_are_no_dependence_on_other_rows(tmp_path, seed):
    """Of the year and the place a linear model subtracts thousands again: float32 leaves noise."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(seed)
    unscaled = [rng.integers(1950, 2025, ROWS), rng.normal(48.1, 0.1, ROWS)]
    values = np.stack([*unscaled, *rng.normal(size=(14, ROWS))], 1).astype(np.float32)
    target = 0.02 * (values[:, 0] - 1990) + 3 * (values[:, 1] - 48.1) + rng.normal(0, 0.3, ROWS)
    model = LinearRegression().fit(values.astype(np.float64), target)
    (tmp_path / "m.onnx").write_bytes(to_onnx(model, values[:1]).SerializeToString())
    table = pa.table({"X": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 16)})
    scorer = make_scorer(tmp_path / "m.onnx", table.schema)

    scorer.probe(table)

    scores = scorer.score(table).table["variable"].to_numpy()
    np.testing.assert_allclose(scores, model.predict(values), atol=1e-3)


def test_clusters_come_as_labels_and_distances(tmp_path):
    from skl2onnx import to_onnx
    from sklearn.cluster import KMeans

    values = RNG.normal(size=(ROWS, 4)).astype(np.float32)
    clusters = KMeans(3, n_init=1, random_state=0).fit(values)
    (tmp_path / "m.onnx").write_bytes(to_onnx(clusters, values[:1]).SerializeToString())
    table = pa.table({f"f{i}": values[:, i] for i in range(4)})
    bound = ModelInputBinding(name="X", columns=("f0", "f1", "f2", "f3"))

    scored = make_scorer(tmp_path / "m.onnx", table.schema, inputs=(bound,)).score(table).table

    assert scored["label"].to_pylist() == clusters.predict(values).tolist()
    np.testing.assert_allclose(scored["scores"].to_pylist(), clusters.transform(values), atol=1e-3)


def test_lightgbm_labels_that_are_declared_as_one_value_come_row_by_row(tmp_path):
    import lightgbm
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    values = RNG.normal(size=(ROWS, 3)).astype(np.float32)
    target = (values[:, 0] > 0).astype(int)
    trees = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(values, target)
    model = onnxmltools.convert_lightgbm(
        trees, initial_types=[("x", FloatTensorType([None, 3]))], zipmap=False
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3)})

    scored = make_scorer(tmp_path / "m.onnx", table.schema).score(table).table

    assert scored["label"].to_pylist() == trees.predict(values).astype(int).tolist()
    np.testing.assert_allclose(
        np.array(scored["probabilities"].to_pylist()), trees.predict_proba(values), atol=1e-4
    )


def test_scoring_imports_neither_pandas_nor_pydantic_nor_onnx(tmp_path):
    onnx_models.mlp(tmp_path / "m.onnx", width=4)
    code = f"""
import sys
from pathlib import Path
from types import SimpleNamespace as Fields
import pyarrow as pa
from batch_inference_runner.models.model_file import fetch_model
from batch_inference_runner.models.scoring import ModelScorer
path = Path({str(tmp_path)!r})
config = Fields(location=Fields(uri=(path / "m.onnx").as_uri()), digest=None,
    inputs=(Fields(name="input", columns=tuple("abcd"), nulls="Reject", fill_value=None),),
    outputs=())
execution = Fields(execution_providers=("CPUExecutionProvider",), allow_provider_fallback=False,
    intra_op_num_threads=1, batch_size=None, batch_timeout_seconds=60)
validity, values = pa.py_buffer(bytes([0b101])), pa.py_buffer(bytes(24))
column = pa.Array.from_buffers(pa.float64(), 3, [validity, values])  # pa.array imports pandas
table = pa.table({{c: column for c in "abcd"}})
scorer = ModelScorer(fetch_model(config, path / "p"), config, execution, table.schema)
scorer.probe(table)
assert scorer.score(table).table.num_rows == 2
print([name for name in ("pandas", "pydantic", "onnx", "duckdb") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "[]\n", done.stdout + done.stderr
