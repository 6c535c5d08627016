"""Real runs of `bij` in a folder: a dataset, a model, a manifest, a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

BIJ = [sys.executable, "-m", "batch_inference_runner"]
RUN_SECONDS = 120


@dataclass
class Job:
    """A job in a folder of its own; `spec` is the manifest's spec, to be changed at will."""

    folder: Path
    spec: dict = field(default_factory=dict)
    name: str = "job"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def write(self) -> Path:
        """Write the manifest, in JSON: PyYAML leaves `y` and `n` bare, which are booleans."""
        path = self.folder / "job.yaml"
        manifest = {
            "apiVersion": "batchinference.dev/v1alpha1",
            "kind": "BatchInferenceJob",
            "metadata": {"name": self.name},
            "spec": self.spec,
        }
        path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
        return path

    def command(self, *arguments: str) -> list[str]:
        return [*BIJ, "run", str(self.write()), "--output-format", "json", *arguments]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Start a run in a session of its own, so that all of it can be killed at once.

        What it has to say goes where the test's own output goes, and is shown if the test fails.
        """
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> Ended:
        """Run to the end."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            env={**os.environ, **environment},
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def gc(self) -> Ended:
        return self._on_output("gc")

    def verify(self) -> Ended:
        return self._on_output("verify")

    def _on_output(self, action: str) -> Ended:
        command = [*BIJ, action, str(self.folder / self.spec["output"]["storageUri"])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)

    def manifest(self) -> dict:
        return json.loads((self.output / "_SUCCESS").read_text())

    def rows(self) -> list[dict]:
        """What a reader of a plain `part-*` glob sees, which must be what the manifest lists."""
        files = sorted(self.output.glob("part-*.parquet"))
        assert [file.name for file in files] == sorted(
            file["path"] for file in self.manifest()["files"]
        )
        return pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()

    def rejects(self) -> list[dict]:
        files = sorted((self.output / "_rejects").glob("part-*"))
        return ds.dataset(files).to_table().to_pylist() if files else []


@dataclass(frozen=True)
class Ended:
    """A finished `bij` process."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict:
        return json.loads(self.stdout)

    @property
    def message(self) -> str:
        """The failure's message as a program reads it."""
        report = self.result.get("report", self.result)
        return f"{report.get('reason')}: {report.get('message')}"


def spec_of(model: Path, data: Path, *, columns: list[str], model_input: str) -> dict:
    """A Parquet job that feeds `columns` to one input of the model."""
    return {
        "model": {
            "storageUri": str(model),
            "modelFormat": {"name": "onnx"},
            "inputs": [{"name": model_input, "columns": columns}],
        },
        "input": {"storageUris": [f"{data}/"], "format": "Parquet", "keyField": "id"},
        "output": {"storageUri": "output/", "format": "Parquet"},
    }
