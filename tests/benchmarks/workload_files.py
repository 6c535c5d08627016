"""Makes the dataset, the model and the manifest that all contenders work on; cached by size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from onnx import TensorProto, helper, numpy_helper

FEATURES = tuple(f"f{index:02d}" for index in range(32))
LAYERS = (32, 128, 64, 1)
ROWS_PER_FILE = 2_000_000
ROWS_PER_ROW_GROUP = 128 * 1024
SEED = 20


@dataclass(frozen=True)
class Workload:
    """A dataset of `rows` rows and the model to score it with."""

    folder: Path
    rows: int
    rows_per_row_group: int = ROWS_PER_ROW_GROUP

    @property
    def data(self) -> Path:
        return self.folder / f"data-{self.rows}-{self.rows_per_row_group}"

    @property
    def model(self) -> Path:
        return self.folder / "mlp.onnx"

    def job(self, rows_per_shard: int | None = None) -> Path:
        """Write the manifest of this workload and return its path."""
        spec = {
            "model": {
                "storageUri": self.model.name,
                "modelFormat": {"name": "onnx"},
                "inputs": [{"name": "features", "columns": list(FEATURES)}],
                "outputs": [{"name": "score", "column": "score"}],
            },
            "input": {
                "storageUris": [f"{self.data.name}/"],
                "format": "Parquet",
                "keyField": "id",
            },
            "output": {"storageUri": "output", "format": "Parquet"},
        }
        if rows_per_shard is not None:
            spec["sharding"] = {"targetRowsPerShard": rows_per_shard}
        document = {
            "apiVersion": "batchinference.dev/v1alpha1",
            "kind": "BatchInferenceJob",
            "metadata": {"name": f"bench-{self.rows}"},
            "spec": spec,
        }
        path = self.folder / f"job-{self.rows}-{rows_per_shard or 'default'}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    def make(self) -> None:
        """Write model and data unless they are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model.write_bytes(mlp())
        done = self.data / ".complete"
        if done.exists():
            return
        self.data.mkdir(exist_ok=True)
        random = np.random.default_rng(SEED)
        for first in range(0, self.rows, ROWS_PER_FILE):
            rows = min(ROWS_PER_FILE, self.rows - first)
            columns = {"id": pa.array(np.arange(first, first + rows, dtype=np.int64))}
            for name in FEATURES:
                columns[name] = pa.array(random.standard_normal(rows, dtype=np.float32))
            pq.write_table(
                pa.table(columns),
                self.data / f"rows-{first:09d}.parquet",
                row_group_size=self.rows_per_row_group,
            )
        done.touch()


def mlp() -> bytes:
    """Return a multilayer perceptron 32-128-64-1 with seeded weights as ONNX."""
    random = np.random.default_rng(SEED)
    nodes, weights, given = [], [], "features"
    for layer, (wide, narrow) in enumerate(pairwise(LAYERS)):
        last = layer == len(LAYERS) - 2
        scale = np.float32(np.sqrt(2 / wide))
        weight = random.standard_normal((wide, narrow), dtype=np.float32) * scale
        bias = random.standard_normal(narrow, dtype=np.float32) * np.float32(0.1)
        weights += [
            numpy_helper.from_array(weight, f"w{layer}"),
            numpy_helper.from_array(bias, f"b{layer}"),
        ]
        out = "score" if last else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [given, f"w{layer}", f"b{layer}"], [out]))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{layer}"]))
            given = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, LAYERS[0]])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, LAYERS[-1]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()
