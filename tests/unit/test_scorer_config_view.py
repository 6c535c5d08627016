"""A scorer reads a config without pydantic, and sees what the driver wrote."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_runner.score.config_view import pin_batch_size, read_config
from testkit.commits import make_config

FULL = RunnerConfig.model_validate(
    {
        "job": {"name": "j"},
        "model": {
            "location": {"uri": "s3://m/m.onnx", "credentialsDir": "/secrets"},
            "inputs": [{"name": "x", "columns": ["a", "b"], "nulls": "NaN", "fillValue": None}],
            "outputs": [{"name": "y", "column": "p", "index": 1, "nonFinite": "Reject"}],
        },
        "input": {
            "locations": [{"uri": "file:///a"}, {"uri": "file:///b"}],
            "format": "CSV",
            "csv": {"newlinesInValues": "Never"},
            "filter": "a > 1",
        },
        "preprocessing": [{"name": "c", "expression": "a + 1"}],
        "output": {
            "location": {"uri": "file:///o"},
            "format": "JSONLines",
            "mode": "Append",
            "compression": "gzip",
            "partitionBy": ["a"],
        },
        "errorPolicy": {"onError": "Skip", "maxErrorRate": "0.5"},
    }
)


def same(view: object, model: object) -> None:
    if isinstance(model, BaseModel):
        assert isinstance(view, SimpleNamespace)
        assert set(vars(view)) == set(type(model).model_fields)
        for name in type(model).model_fields:
            same(getattr(view, name), getattr(model, name))
    elif isinstance(model, tuple):
        assert isinstance(view, tuple)
        assert len(view) == len(model)
        for one, other in zip(view, model, strict=True):
            same(one, other)
    else:
        assert view == model
        assert type(view) is type(model)
        assert not isinstance(model, StrEnum) or view is model


@pytest.mark.parametrize("config", [FULL, make_config()], ids=["full", "smallest"])
def test_every_field_reads_as_it_was_written(config):
    same(read_config(config.model_dump_json()), config)


def test_the_batch_size_of_the_plan_is_pinned_and_nothing_else_changes():
    config = read_config(FULL.model_dump_json())
    pinned = pin_batch_size(config, 7)
    assert pinned.execution.batch_size == 7
    assert config.execution.batch_size is None
    assert pinned.model is config.model


def test_a_scorer_imports_neither_pydantic_nor_pandas_nor_what_most_jobs_never_need():
    unwanted = (
        *("pydantic", "pandas", "duckdb", "ray", "obstore", "rich", "pyarrow.compute", "yaml"),
        *("ssl", "importlib.metadata", "importlib.resources", "numpy._typing"),
    )
    code = (
        "import sys; from batch_inference_runner.score.process import import_libraries; "
        "import_libraries(); "
        f"print([name for name in {unwanted} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_scorers_numpy_lacks_nothing_but_docstrings():
    code = (
        "from batch_inference_runner.score.process import import_libraries; import_libraries(); "
        "import numpy as np, numpy.typing as npt; "
        "print(bool(np.ndarray.ravel.__doc__), npt.NDArray[np.int8], np.linalg.eigvals(np.eye(1)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False numpy.ndarray[")
