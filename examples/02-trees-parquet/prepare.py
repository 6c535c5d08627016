"""Train gradient boosted trees on the wine dataset and write wines to classify as Parquet.

The 178 real wines are resampled with a little measurement noise into as many rows as asked for,
below one folder per year (`data/year=2024/...`). The model answers with the name of the cultivar.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_wine
from sklearn.ensemble import GradientBoostingClassifier

HERE = Path(__file__).parent
CULTIVARS = np.array(["Barolo", "Grignolino", "Barbera"])
COLUMNS = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280_od315",
    "proline",
)
YEARS = (2023, 2024, 2025)
ROWS_PER_ROW_GROUP = 50_000


def train() -> bytes:
    dataset = load_wine()
    trees = GradientBoostingClassifier(n_estimators=40, max_depth=3, random_state=7)
    trees.fit(dataset.data, CULTIVARS[dataset.target])
    inputs = [("features", FloatTensorType([None, len(COLUMNS)]))]
    return to_onnx(trees, initial_types=inputs, options={"zipmap": False}).SerializeToString()


def resample(rows: int, *, first_id: int, random: np.random.Generator) -> pa.Table:
    dataset = load_wine()
    noise = dataset.data.std(axis=0) * 0.05
    wines = random.integers(0, len(dataset.data), rows)
    measured = dataset.data[wines] + random.normal(size=(rows, len(COLUMNS))) * noise
    return pa.table(
        {
            "wine_id": pa.array(np.arange(first_id, first_id + rows, dtype=np.int64)),
            "declared": pa.array(CULTIVARS[dataset.target[wines]]),
            **dict(zip(COLUMNS, measured.astype(np.float32).T.copy(), strict=True)),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--into", type=Path, default=HERE)
    arguments = parser.parse_args()

    (arguments.into / "model").mkdir(parents=True, exist_ok=True)
    (arguments.into / "model" / "model.onnx").write_bytes(train())
    random = np.random.default_rng(7)
    first_id = 0
    for number, year in enumerate(YEARS):
        rows = arguments.rows // len(YEARS) + (number < arguments.rows % len(YEARS))
        folder = arguments.into / "data" / f"year={year}"
        folder.mkdir(parents=True, exist_ok=True)
        table = resample(rows, first_id=first_id, random=random)
        pq.write_table(table, folder / "wines.parquet", row_group_size=ROWS_PER_ROW_GROUP)
        first_id += rows
    print(f"{first_id:,} wines below {arguments.into / 'data'}")


if __name__ == "__main__":
    main()
