"""Write 5,000 patients as JSON Lines of which 20 are broken, each in one of four ways.

The patients are those of scikit-learn's diabetes dataset, resampled; the model is a ridge
regression of how far the disease has gone a year later.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
ROWS = 5_000
NAMES = ("age", "sex", "bmi", "blood_pressure", "tc", "ldl", "hdl", "tch", "ltg", "glucose")


def broken(line: dict[str, object], kind: int) -> str:
    """Return the line as a careless export would have written it."""
    if kind == 0:
        return json.dumps(line)[:-9]  # the disk was full
    if kind == 1:
        return json.dumps(line | {"bmi": None})  # not measured
    if kind == 2:
        return json.dumps(line | {"glucose": "pending"})  # text where a number belongs
    return json.dumps(line | {"glucose": "9,1"})  # a decimal comma


def main() -> None:
    dataset = load_diabetes(scaled=False)
    model = make_pipeline(StandardScaler(), Ridge(random_state=11)).fit(
        dataset.data, dataset.target
    )
    onnx = to_onnx(model, initial_types=[(name, FloatTensorType([None, 1])) for name in NAMES])
    (HERE / "model").mkdir(exist_ok=True)
    (HERE / "model" / "model.onnx").write_bytes(onnx.SerializeToString())

    random = np.random.default_rng(11)
    patients = random.integers(0, len(dataset.data), ROWS)
    careless = dict(
        zip(random.permutation(np.arange(1000, ROWS))[:20].tolist(), range(20), strict=True)
    )
    (HERE / "data").mkdir(exist_ok=True)
    with (HERE / "data" / "patients.jsonl").open("w", encoding="utf-8") as lines:
        for row, patient in enumerate(patients):
            line: dict[str, object] = {"patient_id": f"P{row:05d}"}
            line |= dict(zip(NAMES, dataset.data[patient].tolist(), strict=True))
            line["glucose"] = str(line["glucose"])  # the laboratory sends text
            kind = careless.get(row)
            lines.write(json.dumps(line) if kind is None else broken(line, kind % 4))
            lines.write("\n")
    print(f"{ROWS} patients, {len(careless)} of them broken: data/patients.jsonl")


if __name__ == "__main__":
    main()
