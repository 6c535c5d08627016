"""Real runs of `bij` whose model, input and output lie on an S3 server."""

from __future__ import annotations

import io
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_runner.cli.manifest import load
from batch_inference_runner.storage.object_store import ObjectStore
from testkit import onnx_models
from testkit.jobs import BIJ, Ended, Job, spec_of
from testkit.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, write_credentials

SECRET = "s3-credentials"
WRONG_KEY = "a-wrong-secret-key"


COLUMNS = ["a", "b", "c"]


def make_job(server: S3Server, folder: Path, prefix: str, *, rows: int, shards: int) -> S3Job:
    """A job with a linear model, uploaded: score = a + 2 b + 3 c + 0.5 = 6 id + 0.5."""
    job = S3Job.on(server, folder, prefix, columns=COLUMNS)
    job.spec["sharding"] = {"targetRowsPerShard": rows // shards}
    upload(job.store, onnx_models.linear(folder / "model.onnx"), "model.onnx")
    body = parquet_of(range(rows), row_group_size=rows // shards)
    (folder / "rows.parquet").write_bytes(body)
    upload(job.store, folder / "rows.parquet", "data/rows.parquet")
    return job


def parquet_of(ids: range, *, row_group_size: int | None = None) -> bytes:
    """A Parquet file with these ids; every feature equals the id."""
    numbers = np.arange(ids.start, ids.stop)
    columns = {name: numbers.astype(np.float32) for name in COLUMNS}
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": numbers, **columns}), sink, row_group_size=row_group_size)
    return sink.getvalue()


def config_of(job: S3Job) -> RunnerConfig:
    """The job as the runner's processes see it, with one thread to score."""
    overrides = ["spec.workers.resources.requests.cpu=1"]
    loaded = load(job.write(), overrides=overrides, secrets={SECRET: job.credentials})
    return loaded.config


def assert_exact(job: S3Job, rows: int) -> None:
    """I1, I2 for both kinds of reader, the scores, and what `bij verify` says."""
    counts = {"read": rows, "written": rows, "rejected": 0, "filtered": 0}
    assert job.manifest()["counts"] == counts
    found = sorted((row["id"], row["score"]) for row in job.rows())
    assert [number for number, _ in found] == list(range(rows))
    assert all(score == pytest.approx(6 * number + 0.5) for number, score in found)
    verified = job.verify()
    assert verified.code == 0, verified.stdout + verified.stderr


def assert_no_secrets(text: str) -> None:
    """I8, for anything that people or programs may read."""
    for secret in (ACCESS_KEY, SECRET_KEY, WRONG_KEY, "Signature=", "X-Amz-", "AWS4-HMAC"):
        assert secret not in text, text


def upload(store: ObjectStore, source: Path, key: str) -> None:
    sink = store.open_sink(key)
    sink.write(source.read_bytes())
    sink.commit()


@dataclass
class S3Job(Job):
    """A job below a prefix of the bucket; `credentials` is the folder behind its secret."""

    server: S3Server | None = None
    prefix: str = ""
    credentials: Path | None = None

    @classmethod
    def on(cls, server: S3Server, folder: Path, prefix: str, *, columns: list[str]) -> S3Job:
        """A job that reads `<prefix>/data/` and `<prefix>/model.onnx`, with a secret of its own."""
        root = f"s3://{BUCKET}/{prefix}"
        spec = spec_of(Path("model.onnx"), Path("data"), columns=columns, model_input="input")
        secret = {"secretRef": {"name": SECRET}}
        spec["model"] |= {"storageUri": f"{root}/model.onnx", **secret}
        spec["input"] |= {"storageUris": [f"{root}/data/"], **secret}
        spec["output"] |= {"storageUri": f"{root}/out/", **secret}
        credentials = write_credentials(folder / "secret", server.endpoint)
        return cls(folder, spec, server=server, prefix=prefix, credentials=credentials)

    @property
    def store(self) -> ObjectStore:
        """The job's prefix, by the straight way to the server."""
        return self.server.store(self.prefix)

    @property
    def out(self) -> ObjectStore:
        return self.server.store(f"{self.prefix}/out")

    def go_through(self, endpoint: str) -> None:
        """Let the job reach the server by another endpoint."""
        write_credentials(self.credentials, endpoint)

    def command(self, *arguments: str) -> list[str]:
        return super().command("--secret", f"{SECRET}={self.credentials}", *arguments)

    def run(self, *arguments: str, **environment: str) -> Ended:
        """Run to the end, with all there is to log; nothing of it may hold a secret."""
        ended = super().run("--verbose", *arguments, **environment)
        assert_no_secrets(ended.stdout + ended.stderr)
        return ended

    def verify(self) -> Ended:
        return self._look("verify")

    def gc(self, *arguments: str) -> Ended:
        return self._look("gc", *arguments)

    def _look(self, command: str, *arguments: str) -> Ended:
        output = self.spec["output"]["storageUri"]
        straight = str(self.server.credentials_dir)
        done = subprocess.run(
            [*BIJ, command, output, "--secret-dir", straight, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=dict(os.environ),
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def manifest(self) -> dict:
        return json.loads(self.out.get("_SUCCESS"))

    def parts(self) -> list[str]:
        """What a `part-*` glob finds."""
        keys = [info.key for info in self.out.list(skip="_bij")]
        return sorted(key for key in keys if key.startswith("part-"))

    def rows(self) -> list[dict]:
        """What a reader of a plain `part-*` glob sees, which must be what the manifest lists."""
        parts = self.parts()
        assert parts == sorted(file["path"] for file in self.manifest()["files"])
        tables = [pq.read_table(io.BytesIO(self.out.get(key))) for key in parts]
        return pa.concat_tables(tables).to_pylist()

    def markers(self) -> dict[str, bytes]:
        """Commit markers by key."""
        keys = [info.key for info in self.out.list("_bij") if "/commit/" in info.key]
        return {key: self.out.get(key) for key in keys}
