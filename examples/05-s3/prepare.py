"""Train a linear model, and put it and an Arrow dataset into a bucket of an S3 store.

The store and its credentials come from the usual variables: AWS_ENDPOINT_URL (for anything but
AWS), AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
from obstore.store import S3Store
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

HERE = Path(__file__).parent
ROWS = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bucket", default="bij-example")
    bucket = parser.parse_args().bucket

    dataset = load_diabetes()
    model = LinearRegression().fit(dataset.data, dataset.target)
    inputs = [("features", FloatTensorType([None, len(dataset.feature_names)]))]
    (HERE / "model").mkdir(exist_ok=True)
    onnx_path = HERE / "model" / "model.onnx"
    onnx_path.write_bytes(to_onnx(model, initial_types=inputs).SerializeToString())

    patients = np.random.default_rng(5).integers(0, len(dataset.data), ROWS)
    columns = dict(zip(dataset.feature_names, dataset.data[patients].T.copy(), strict=True))
    table = pa.table({"patient_id": np.arange(ROWS), **columns})
    (HERE / "data").mkdir(exist_ok=True)
    arrow_path = HERE / "data" / "patients.arrow"
    with pa.OSFile(str(arrow_path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)

    plain_http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    store = S3Store(bucket, client_options={"allow_http": plain_http})
    store.put("linear/model.onnx", onnx_path)
    store.put("linear/input/patients.arrow", arrow_path)
    print(f"{ROWS} patients and a model: s3://{bucket}/linear/")


if __name__ == "__main__":
    main()
