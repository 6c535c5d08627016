"""The floor for a first row: one process that imports, reads, scores and ends; nothing else.

No manifest, no plan, no commit, no check. pandas, which PyArrow would import for `to_numpy`, counts
as not installed.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from workload import FEATURES, MICRO_BATCH_ROWS, arguments, report


def main() -> None:
    given = arguments()
    sys.modules["pandas"] = None
    session = onnxruntime.InferenceSession(given.model, providers=["CPUExecutionProvider"])
    file = pq.ParquetFile(min(given.data.glob("*.parquet")), memory_map=True)
    batch = next(file.iter_batches(MICRO_BATCH_ROWS, columns=FEATURES))
    matrix = np.column_stack([batch[name].to_numpy() for name in FEATURES])
    report(rows=len(session.run(None, {"features": matrix})[0]))


if __name__ == "__main__":
    main()
