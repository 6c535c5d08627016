"""Measures the stages of the work singly, and the limit that they imply against a bare loop."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from workload_files import FEATURES, Workload

MICRO_BATCH_ROWS = 1024
REPEATS = 5


@dataclass(frozen=True)
class StageCosts:
    """Microseconds a row on one core, the least of several repeats."""

    decode: float
    transpose: float
    infer: float
    write: float

    @property
    def limit(self) -> float:
        """The share of a bare loop's rate that reading and writing leave."""
        return self.infer / (self.decode + self.transpose + self.infer + self.write)

    def sentence(self) -> str:
        """Say it for the report."""
        return (
            f"Microseconds a row on one core: decode {self.decode:.3f}, columns to matrix "
            f"{self.transpose:.3f}, infer {self.infer:.3f}, write {self.write:.3f}. So "
            f"{self.limit:.2f} of the bare loop's rate is the limit for anything that reads and "
            "writes files."
        )


def measure_stages(workload: Workload) -> StageCosts:
    """Time each stage on the first row group of the workload."""
    path = min(workload.data.glob("*.parquet"))
    file = pq.ParquetFile(path, memory_map=True)
    table = file.read_row_group(0, columns=FEATURES, use_threads=False)
    columns = [table[name].to_numpy() for name in FEATURES]
    matrix = np.empty((MICRO_BATCH_ROWS, len(FEATURES)), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        workload.model, options, providers=["CPUExecutionProvider"]
    )
    starts = range(0, table.num_rows - MICRO_BATCH_ROWS + 1, MICRO_BATCH_ROWS)
    result = pa.table({"id": np.arange(table.num_rows), "score": columns[0]})

    def transpose() -> None:
        for at in starts:
            for position, column in enumerate(columns):
                matrix[:, position] = column[at : at + MICRO_BATCH_ROWS]

    def infer() -> None:
        for _ in starts:
            session.run(None, {"features": matrix})

    def write() -> None:
        pq.write_table(
            result,
            io.BytesIO(),
            compression="zstd",
            use_dictionary=False,
            column_encoding={"id": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT"},
        )

    def decode() -> None:
        file.read_row_group(0, columns=FEATURES, use_threads=False)

    seconds = [least_seconds(stage) for stage in (decode, transpose, infer, write)]
    return StageCosts(*(1e6 * stage / table.num_rows for stage in seconds))


def least_seconds(stage: Callable[[], None]) -> float:
    """Return the least of several repeats: what interrupts a stage only ever adds."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        stage()
        times.append(time.perf_counter() - began)
    return min(times)
