"""Model scorers over small models, and plain ONNX Runtime to compare with."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa

from batch_inference_api.runner_contract import (
    ExecutionConfig,
    Location,
    ModelConfig,
    ModelInputBinding,
    ModelOutputBinding,
)
from batch_inference_runner.models.model_file import fetch_model
from batch_inference_runner.models.scoring import ModelScorer


def make_scorer(
    path: Path,
    schema: pa.Schema,
    *,
    inputs: tuple[ModelInputBinding, ...] = (),
    outputs: tuple[ModelOutputBinding, ...] = (),
    isolated_memory_bytes: int | None = None,
    **execution,
) -> ModelScorer:
    """Load the model at `path` for columns of `schema`."""
    config = ModelConfig(location=Location(uri=path.as_uri()), inputs=inputs, outputs=outputs)
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    return ModelScorer(
        fetch_model(config, folder),
        config,
        ExecutionConfig(**execution),
        schema,
        isolated_memory_bytes=isolated_memory_bytes,
    )


def run_plainly(path: Path, feeds: dict[str, np.ndarray]) -> list:
    """Score all rows in one call of ONNX Runtime, without any of our code."""
    return ort.InferenceSession(str(path)).run(None, feeds)


def rejected(result) -> dict[int, str]:
    """Return error class by row."""
    return {int(row): error.error for error in result.errors for row in error.indices}
