"""What one writes in ten minutes: pyarrow reads, ONNX Runtime scores, pyarrow writes; defaults."""

from __future__ import annotations

import time

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from workload import FEATURES, arguments, report


def main() -> None:
    given = arguments()
    began = time.perf_counter()
    session = onnxruntime.InferenceSession(given.model, providers=["CPUExecutionProvider"])
    dataset = pyarrow.dataset.dataset(given.data, format="parquet")
    schema = pa.schema([("id", pa.int64()), ("score", pa.float32())])
    given.output.mkdir(parents=True)
    with pq.ParquetWriter(given.output / "scores.parquet", schema) as writer:
        for batch in dataset.to_batches(columns=["id", *FEATURES]):
            if batch.num_rows == 0:
                continue
            matrix = np.column_stack([batch[name].to_numpy() for name in FEATURES])
            scores = session.run(None, {"features": matrix})[0][:, 0]
            writer.write_batch(pa.record_batch([batch["id"], pa.array(scores)], schema=schema))
    report(job_seconds=time.perf_counter() - began)


if __name__ == "__main__":
    main()
