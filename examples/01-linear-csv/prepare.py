"""Train a logistic regression on breast cancer measurements and write what is left as CSV.

The model gets one input per column, named like the column: nothing has to be bound by hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent


def main() -> None:
    dataset = load_breast_cancer()
    columns = [name.replace(" ", "_") for name in dataset.feature_names]
    malignant = 1 - dataset.target
    train, held_out = train_test_split(
        np.arange(len(malignant)), test_size=0.4, random_state=20, stratify=malignant
    )
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=20))
    pipeline.fit(dataset.data[train], malignant[train])
    model = to_onnx(
        pipeline,
        initial_types=[(column, FloatTensorType([None, 1])) for column in columns],
        options={"zipmap": False},
    )
    (HERE / "model").mkdir(exist_ok=True)
    (HERE / "model" / "model.onnx").write_bytes(model.SerializeToString())

    table = pa.table(
        {
            "patient_id": [f"P{index:04d}" for index in held_out],
            "diagnosis": np.where(malignant[held_out] == 1, "malignant", "benign"),
            **dict(zip(columns, dataset.data[held_out].T, strict=True)),
        }
    )
    (HERE / "data").mkdir(exist_ok=True)
    pyarrow.csv.write_csv(table, HERE / "data" / "patients.csv")
    print(f"{len(held_out)} patients the model has not seen: data/patients.csv")


if __name__ == "__main__":
    main()
