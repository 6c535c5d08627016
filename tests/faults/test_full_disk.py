"""An output on a real file system that is full, or read-only."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testkit import onnx_models
from testkit.jobs import Job, spec_of
from testkit.skipping import skip_or_fail

ROWS = 400_000
SHARD_ROWS = 10_000
COLUMNS = ["a", "b", "c"]


@pytest.fixture
def volume(tmp_path):
    """A small file system of its own; a function that mounts it again with other options."""
    if os.geteuid() != 0:
        skip_or_fail("only root may mount a file system")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "bij-test", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        skip_or_fail(f"root may not mount here: {mounted.stderr.strip()}")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def job(tmp_path) -> Job:
    features = np.random.default_rng(3).standard_normal((ROWS, 3), dtype=np.float32)
    columns = {name: features[:, index] for index, name in enumerate(COLUMNS)}
    (tmp_path / "data").mkdir()
    pq.write_table(
        pa.table({"id": np.arange(ROWS), **columns}),
        tmp_path / "data" / "rows.parquet",
        row_group_size=SHARD_ROWS,
    )
    model = onnx_models.linear(tmp_path / "model.onnx")
    spec = spec_of(model, tmp_path / "data", columns=COLUMNS, model_input="input")
    spec["sharding"] = {"targetRowsPerShard": SHARD_ROWS}
    spec["output"] |= {"storageUri": "volume/output/", "compression": "none"}
    return Job(tmp_path, spec)


def markers_of(job: Job) -> dict[str, bytes]:
    folder = job.folder / "volume" / "output" / "_bij"
    return {str(path): path.read_bytes() for path in folder.glob("*/commit/*/*.json")}


def test_a_run_that_fills_its_disk_says_so_and_goes_on_when_there_is_room(volume, job):
    ended = job.run()
    assert ended.code == 70, ended.stderr
    assert ended.message.startswith("OutputVolumeFull: ")
    assert "make room" in ended.message
    before = markers_of(job)
    assert 0 < len(before) < ROWS // SHARD_ROWS
    again = job.run()
    assert again.message.startswith("OutputVolumeFull: "), again
    volume("size=64m")
    ended = job.run()
    assert ended.code == 0, ended.stderr
    after = markers_of(job)
    assert {key: after[key] for key in before} == before, "a committed shard was scored again"
    output = job.folder / "volume" / "output"
    ids = pq.read_table(sorted(output.glob("part-*")), columns=["id"])["id"].to_numpy()
    assert np.array_equal(np.sort(ids), np.arange(ROWS))
    assert job.gc().code == 0  # a scorer that was killed while it wrote could not clean up
    assert not list((output / "_bij" / "tmp").glob("*"))


def test_a_read_only_output_is_refused_by_name(volume, job):
    volume("ro")
    ended = job.run()
    assert ended.code == 70, ended.stderr
    assert ended.message.startswith("AccessDenied: ")
    assert "Read-only file system" in ended.message
    assert "credentials" not in ended.message
    assert str(job.folder / "volume") in ended.message


def test_a_result_that_was_made_read_only_is_complete(volume, job):
    volume("size=64m")
    assert job.run().code == 0
    volume("ro")
    ended = job.run()
    assert ended.code == 0, ended.stderr
    assert ended.result["outcome"] == "AlreadyComplete"
