"""The ceiling: rows already in memory as one matrix, nothing but `session.run`, no output file.

One session, one thread per CPU, micro-batches that fit the cache. Only the loop is timed. The
scores are kept as the reference for everybody else's.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from workload import FEATURES, MICRO_BATCH_ROWS, arguments, cpus, report


def load(data) -> np.ndarray:
    files = [pq.ParquetFile(path, memory_map=True) for path in sorted(data.glob("*.parquet"))]
    matrix = np.empty((sum(f.metadata.num_rows for f in files), len(FEATURES)), np.float32)
    at = 0
    for file in files:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=FEATURES)
            for position, name in enumerate(FEATURES):
                matrix[at : at + table.num_rows, position] = table[name].to_numpy()
            at += table.num_rows
    return matrix


def main() -> None:
    given = arguments()
    matrix = load(given.data)
    scores = np.empty(len(matrix), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(given.model, options, providers=["CPUExecutionProvider"])

    def score(part: range) -> None:
        for at in part:
            rows = slice(at, at + MICRO_BATCH_ROWS)
            scores[rows] = session.run(None, {"features": matrix[rows]})[0][:, 0]

    score(range(0, min(len(matrix), 100 * MICRO_BATCH_ROWS), MICRO_BATCH_ROWS))
    starts = range(0, len(matrix), MICRO_BATCH_ROWS)
    pieces = [starts[at : at + 64] for at in range(0, len(starts), 64)]
    with ThreadPoolExecutor(cpus()) as threads:
        began = time.perf_counter()
        list(threads.map(score, pieces))
        seconds = time.perf_counter() - began
    np.save(given.output, scores)
    report(job_seconds=seconds)


if __name__ == "__main__":
    main()
