"""Train a neural network on the breast cancer dataset and write tumours to classify as Parquet.

Everything goes into `scoring/`, the folder that stands for the volume `scoring`. The 569 real
measurements are resampled with a little noise into as many rows as asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
ROWS_PER_ROW_GROUP = 25_000


def train() -> bytes:
    dataset = load_breast_cancer()
    network = MLPClassifier((64, 32), max_iter=500, random_state=7)
    pipeline = make_pipeline(StandardScaler(), network)
    pipeline.fit(dataset.data, dataset.target)
    inputs = [("features", FloatTensorType([None, dataset.data.shape[1]]))]
    return to_onnx(pipeline, initial_types=inputs, options={"zipmap": False}).SerializeToString()


def resample(rows: int) -> pa.Table:
    dataset = load_breast_cancer()
    random = np.random.default_rng(7)
    patients = random.integers(0, len(dataset.data), rows)
    noise = random.normal(size=(rows, dataset.data.shape[1])) * dataset.data.std(axis=0) * 0.02
    measured = (dataset.data[patients] + noise).astype(np.float32)
    features = pa.FixedSizeListArray.from_arrays(measured.ravel(), measured.shape[1])
    return pa.table({"sample_id": np.arange(rows), "features": features})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--into", type=Path, default=HERE / "scoring")
    arguments = parser.parse_args()
    for folder in ("model", "data"):
        (arguments.into / folder).mkdir(parents=True, exist_ok=True)
    (arguments.into / "model" / "model.onnx").write_bytes(train())
    table = resample(arguments.rows)
    pq.write_table(
        table, arguments.into / "data" / "samples.parquet", row_group_size=ROWS_PER_ROW_GROUP
    )
    print(f"{table.num_rows:,} samples below {arguments.into}")


if __name__ == "__main__":
    main()
