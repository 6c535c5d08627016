"""What lies in the folder where `bij` is called is data, and never taken for a library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testkit.small_jobs import linear_job

MODULES = ("json", "logging", "numpy", "pyarrow", "onnxruntime", "duckdb", "batch_inference_runner")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a job, and with files that are called as what a run imports."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the current folder')")
    return tmp_path


def test_a_run_imports_nothing_from_the_current_folder(folder):
    job = linear_job(
        folder, {"postprocessing": {"columns": [{"name": "twice", "expression": "score * 2"}]}}
    )
    bij = Path(sys.executable).with_name("bij")
    command = [bij, "run", job.write()]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((job.output / "_SUCCESS").read_text())["counts"]["written"] == 10
