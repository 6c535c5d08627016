"""Ray Data, tuned: a pool of actors that keep the model, micro-batches inside, order not preserved.

The actors together ask for one CPU less than there are, which leaves one for the tasks that read
and write: with a pool as wide as a small machine Ray Data cannot read any more and waits forever.
Each actor runs ONNX Runtime on one thread. `RAY_DATA_ACTORS`, `RAY_DATA_BATCH_ROWS` change it.
"""

from __future__ import annotations

import os
import time

from workload import FEATURES, MICRO_BATCH_ROWS, arguments, cpus, report

os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import onnxruntime
import pyarrow as pa
import ray
import ray.data

BATCH_ROWS = int(os.environ.get("RAY_DATA_BATCH_ROWS", "65536"))
OBJECT_STORE_BYTES = 2 * 1024**3


class Scorer:
    """Holds one session for the life of an actor."""

    def __init__(self, model: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        scores = np.empty(table.num_rows, np.float32)
        columns = [table[name].to_numpy() for name in FEATURES]
        for at in range(0, table.num_rows, MICRO_BATCH_ROWS):
            rows = slice(at, at + MICRO_BATCH_ROWS)
            matrix = np.column_stack([column[rows] for column in columns])
            scores[rows] = self.session.run(None, {"features": matrix})[0][:, 0]
        return pa.table({"id": table["id"], "score": scores})


def main() -> None:
    given = arguments()
    actors = int(os.environ.get("RAY_DATA_ACTORS", cpus()))
    ray.init(
        num_cpus=cpus(),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level="ERROR",
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    began = time.perf_counter()
    ray.data.read_parquet(str(given.data), columns=["id", *FEATURES]).map_batches(
        Scorer,
        fn_constructor_args=(str(given.model),),
        batch_size=BATCH_ROWS,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=max(cpus() - 1, 0.5) / actors,
    ).write_parquet(str(given.output))
    report(job_seconds=time.perf_counter() - began)


if __name__ == "__main__":
    main()
