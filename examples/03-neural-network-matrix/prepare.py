"""Train a small neural network on handwritten digits, each a list of 64 grey values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HERE = Path(__file__).parent
PIXELS = 64


def main() -> None:
    dataset = load_digits()
    images = (dataset.data / 16).astype(np.float32)
    train, held_out = train_test_split(
        np.arange(len(images)), test_size=0.5, random_state=3, stratify=dataset.target
    )
    network = MLPClassifier(hidden_layer_sizes=(64, 32), max_iter=300, random_state=3)
    network.fit(images[train], dataset.target[train])
    model = to_onnx(
        network,
        initial_types=[("pixels", FloatTensorType([None, PIXELS]))],
        options={"zipmap": False},
    )
    (HERE / "model").mkdir(exist_ok=True)
    (HERE / "model" / "model.onnx").write_bytes(model.SerializeToString())

    pixels = pa.array(images[held_out].reshape(-1), pa.float32())
    table = pa.table(
        {
            "image_id": pa.array(held_out, pa.int64()),
            "written": pa.array(dataset.target[held_out], pa.int64()),
            "pixels": pa.FixedSizeListArray.from_arrays(pixels, PIXELS),
        }
    )
    (HERE / "data").mkdir(exist_ok=True)
    pq.write_table(table, HERE / "data" / "digits.parquet")
    print(f"{len(held_out)} digits the network has not seen: data/digits.parquet")


if __name__ == "__main__":
    main()
