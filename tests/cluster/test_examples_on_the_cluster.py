"""Every example gives on the cluster what it gives on a laptop."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from testkit.cluster.namespaces import Namespace
from testkit.cluster_jobs import KIND, SMALL_POD
from testkit.example_copy import ExampleCopy, copy_example, example_names
from testkit.operator_installation import Operator
from testkit.skipping import skip_or_fail

pytestmark = pytest.mark.usefixtures("operator")
OWN_PLACES = ("05-s3", "06-volume")
"""Examples whose manifests name places that pods reach; the others name folders."""


@pytest.mark.parametrize("name", [name for name in example_names() if name not in OWN_PLACES])
def test_an_example_with_paths_runs_on_a_volume(
    namespace: Namespace, tmp_path: Path, name: str
) -> None:
    folder = _volume(namespace)
    example = copy_example(name, tmp_path)
    example.sh("python prepare.py")
    example.sh("bij run job.yaml")
    for part in ("model", "data"):
        shutil.copytree(example.folder / part, folder / part)
    _open_to_all(folder)
    job = _manifest(example)
    spec = job["spec"]
    for part in (spec["model"], spec["output"]):
        part["storageUri"] = f"pvc://scoring/{part['storageUri']}"
    uris = spec["input"]["storageUris"]
    spec["input"]["storageUris"] = [f"pvc://scoring/{uri}" for uri in uris]
    spec["workers"] = {"resources": SMALL_POD}
    _run(namespace, job)
    here = json.loads((example.folder / "output" / "_SUCCESS").read_text())
    there = json.loads((folder / "output" / "_SUCCESS").read_text())
    assert there["counts"] == here["counts"]
    assert [f["rows"] for f in there["files"]] == [f["rows"] for f in here["files"]]
    example.sh(f"bij verify {folder / 'output'}")


def test_the_s3_example_runs_as_it_is(namespace: Namespace, tmp_path: Path) -> None:
    storage = namespace.cluster.object_storage
    secret = storage.secret("object-store")
    example = copy_example("05-s3", tmp_path, **secret["stringData"])
    example.sh(f"python prepare.py --bucket {storage.bucket}")
    text = (example.folder / "job.yaml").read_text()
    job = yaml.safe_load(text.replace("s3://bij-example/", f"s3://{storage.bucket}/"))
    output = storage.uri(f"{namespace.name}/scores")
    job["spec"]["output"]["storageUri"] = output
    namespace.kubectl.apply(secret)
    _run(namespace, job)
    example.sh(f"bij verify {output}")


def test_the_volume_example_runs_by_the_commands_of_its_readme(
    operator: Operator, namespace: Namespace, tmp_path: Path
) -> None:
    _open_to_all(_volume(namespace))
    example = copy_example("06-volume", tmp_path)
    example.sh("python prepare.py")
    reader = ExampleCopy(
        example.folder,
        {
            **example.environment,
            "KUBECONFIG": str(_in_namespace(namespace, tmp_path)),
            "PATH": f"{namespace.cluster.search_path}{os.pathsep}{example.environment['PATH']}",
            "RUNNER_IMAGE": operator.runner_image,
        },
    )
    readme = reader.folder / "README.md"
    there_already = "kubectl apply -f claim.yaml\n"
    assert there_already in readme.read_text()
    readme.write_text(readme.read_text().replace(there_already, ""))
    printed = reader.run_readme("bash")
    assert "500.0k/500.0k (100%)" in printed
    assert namespace.kubectl.list(KIND) == []


def _volume(namespace: Namespace) -> Path:
    folder = namespace.create_volume("scoring")
    if folder is None:
        skip_or_fail(
            "needs volumes that are folders of this machine: BIJ_CLUSTER_PROVIDER=local, on Debian"
        )
    return folder


def _manifest(example: ExampleCopy) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((example.folder / "job.yaml").read_text())
    return manifest


def _run(namespace: Namespace, job: dict[str, Any]) -> None:
    namespace.kubectl.apply(job)
    namespace.kubectl.wait(KIND, job["metadata"]["name"], until="condition=Complete", seconds=120)


def _open_to_all(folder: Path) -> None:
    """Let the runner's user write: fsGroup is not applied to folders of the host."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o644)


def _in_namespace(namespace: Namespace, folder: Path) -> Path:
    """A kubeconfig whose current namespace is the test's, as `kubectl config set-context` makes."""
    config = yaml.safe_load(namespace.cluster.kubeconfig.read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = namespace.name
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path
