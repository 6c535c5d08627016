"""A job from `kubectl apply` to its result: one pod and several, object storage and volumes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from testkit.cluster.namespaces import Namespace
from testkit.cluster_invariants import assert_invariants, assert_nothing_is_left
from testkit.cluster_jobs import KIND, SMALL_POD, make_cluster_job
from testkit.example_copy import copy_example, example_names
from testkit.jobs import BIJ
from testkit.status_recorder import StatusRecorder


@pytest.mark.usefixtures("operator")
def test_a_job_of_one_pod_scores_every_row_once(namespace: Namespace, tmp_path: Path) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=10_000)
    with StatusRecorder(job) as recorder:
        job.apply()
        job.wait_until_complete()
    assert_invariants(job, recorder)
    assert recorder.phases[-1] == "Succeeded"
    status = job.status()
    assert status["run"]["number"] == 1
    assert status["model"]["resolvedDigest"].startswith("sha256:")
    assert status["output"]["manifestUri"].endswith("/_SUCCESS")
    table = namespace.kubectl("get", "bij", "job")
    assert "Succeeded" in table
    assert "10.0k/10.0k (100%)" in table
    namespace.kubectl("wait", "bij/job", "--for=condition=Complete", "--timeout=5s")
    namespace.kubectl("delete", KIND, "job")
    assert_nothing_is_left(job)


@pytest.mark.usefixtures("operator")
def test_three_pods_score_one_dataset_together(namespace: Namespace, tmp_path: Path) -> None:
    job = make_cluster_job(namespace, tmp_path, rows=60_000, shards=60, slow=True)
    job.spec["workers"]["replicas"] = 3
    with StatusRecorder(job) as recorder:
        job.apply()
        job.wait_until_complete(seconds=240)
    assert_invariants(job, recorder)
    ready = max(status.get("workers", {}).get("ready", 0) for status in recorder.seen)
    assert ready >= 2, "no second worker ever scored"


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("name", example_names())
def test_an_example_gives_on_the_cluster_what_it_gives_on_a_laptop(
    namespace: Namespace, tmp_path: Path, name: str
) -> None:
    """Model and data lie on a volume, and the manifest names them by `pvc://` URIs."""
    folder = namespace.create_volume("scoring")
    if folder is None:
        pytest.skip("this cluster's volumes are not folders of this machine")
    example = copy_example(name, tmp_path)
    manifest = yaml.safe_load((example.folder / "job.yaml").read_text())
    if "s3://" in manifest["spec"]["model"]["storageUri"]:
        pytest.skip("every other test here runs on object storage")
    example.sh("python prepare.py")
    example.sh("bij run job.yaml")
    for part in ("model", "data"):
        shutil.copytree(example.folder / part, folder / part)
    _open_to_all(folder)
    _move(manifest["spec"])
    namespace.kubectl.apply(manifest)
    job_name = manifest["metadata"]["name"]
    namespace.kubectl.wait(KIND, job_name, until="condition=Complete", seconds=120)
    here = json.loads((example.folder / "output" / "_SUCCESS").read_text())
    there = json.loads((folder / "output" / "_SUCCESS").read_text())
    assert there["counts"] == here["counts"]
    assert [f["rows"] for f in there["files"]] == [f["rows"] for f in here["files"]]
    verified = subprocess.run([*BIJ, "verify", str(folder / "output")], check=False)
    assert verified.returncode == 0


def _move(spec: dict) -> None:
    """Let a spec with paths refer to the volume instead."""
    spec["model"]["storageUri"] = f"pvc://scoring/{spec['model']['storageUri']}"
    uris = spec["input"]["storageUris"]
    spec["input"]["storageUris"] = [f"pvc://scoring/{uri}" for uri in uris]
    spec["output"]["storageUri"] = f"pvc://scoring/{spec['output']['storageUri']}"
    spec["workers"] = {"resources": SMALL_POD}


def _open_to_all(folder: Path) -> None:
    """Let the runner's user write: fsGroup is not applied to folders of the host."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o644)
