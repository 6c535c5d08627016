"""Volumes of a run's pods, and `pvc://` URIs."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_operator.build.claims import Claim, find_claims, locate
from batch_inference_operator.build.volumes import build_volume_mounts, build_volumes
from testkit.operator_jobs import make_job

GIB = 2**30
OF_EVERY_RUN = ["bij-run", "bij-tmp", "bij-shm"]


def built_volumes(changes: dict[str, Any], memory_bytes: int = 2 * GIB) -> dict[str, Any]:
    spec = make_job(changes).spec
    volumes = build_volumes(spec, secret_name="run-1", memory_bytes=memory_bytes)
    return {volume.pop("name"): volume for volume in volumes}


def built_mounts(changes: dict[str, Any]) -> dict[str, Any]:
    mounts = build_volume_mounts(make_job(changes).spec)
    return {mount.pop("mountPath"): mount for mount in mounts}


def test_every_run_has_its_secret_scratch_space_and_shared_memory() -> None:
    assert built_volumes({}) == {
        "bij-run": {"secret": {"secretName": "run-1", "defaultMode": 0o440}},
        "bij-tmp": {"emptyDir": {}},
        "bij-shm": {"emptyDir": {"medium": "Memory", "sizeLimit": str(128 * 2**20)}},
    }
    assert built_mounts({}) == {
        "/etc/bij/run": {"name": "bij-run", "readOnly": True},
        "/tmp": {"name": "bij-tmp"},
        "/dev/shm": {"name": "bij-shm"},
    }


def test_shared_memory_leaves_most_of_a_small_pod_to_its_processes() -> None:
    shared = built_volumes({}, memory_bytes=256 * 2**20)["bij-shm"]["emptyDir"]

    assert shared["sizeLimit"] == str(64 * 2**20)


def test_each_role_has_its_credentials_in_a_folder_of_its_own() -> None:
    changes = {
        "spec.model.secretRef": {"name": "models"},
        "spec.output.secretRef": {"name": "lake"},
    }

    volumes, mounts = built_volumes(changes), built_mounts(changes)

    assert volumes["bij-credentials-model"]["secret"]["secretName"] == "models"
    assert volumes["bij-credentials-output"]["secret"]["secretName"] == "lake"
    assert mounts["/etc/bij/credentials/model"] == {
        "name": "bij-credentials-model",
        "readOnly": True,
    }
    assert mounts["/etc/bij/credentials/output"]["readOnly"] is True
    assert "/etc/bij/credentials/input" not in mounts


def test_a_claim_is_read_only_unless_the_output_lies_there() -> None:
    changes = {
        "spec.model.storageUri": "pvc://models/churn.onnx",
        "spec.input.storageUris": ["pvc://lake/in/a", "pvc://lake/in/b"],
        "spec.output.storageUri": "pvc://lake/out/",
    }

    volumes, mounts = built_volumes(changes), built_mounts(changes)

    assert volumes["bij-claim-0"] == {"persistentVolumeClaim": {"claimName": "lake"}}
    assert volumes["bij-claim-1"] == {
        "persistentVolumeClaim": {"claimName": "models", "readOnly": True}
    }
    assert mounts["/pvc/lake"] == {"name": "bij-claim-0"}
    assert mounts["/pvc/models"] == {"name": "bij-claim-1", "readOnly": True}
    assert len(volumes) == len(OF_EVERY_RUN) + 2


def test_a_claim_that_the_job_has_as_a_volume_is_not_there_twice() -> None:
    volume = {"name": "mine", "persistentVolumeClaim": {"claimName": "lake"}}
    changes = {
        "spec.input.storageUris": ["pvc://lake/in/"],
        "spec.workers.volumes": [volume],
        "spec.workers.volumeMounts": [{"name": "mine", "mountPath": "/data"}],
    }

    assert list(built_volumes(changes)) == [*OF_EVERY_RUN, "mine"]
    assert built_mounts(changes)["/pvc/lake"] == {"name": "mine", "readOnly": True}
    assert built_mounts(changes)["/data"] == {"name": "mine"}


def test_the_job_s_own_volumes_are_taken_word_for_word() -> None:
    changes = {
        "spec.workers.volumes": [
            {"name": "a", "emptyDir": {"sizeLimit": 1000}},
            {"name": "b", "configMap": {"name": "c", "optional": False}},
        ],
        "spec.workers.volumeMounts": [
            {"name": "a", "mountPath": "/a"},
            {"name": "b", "mountPath": "/b", "subPath": "x", "readOnly": True},
        ],
    }

    volumes, mounts = built_volumes(changes), built_mounts(changes)

    assert volumes["a"] == {"emptyDir": {"sizeLimit": "1000"}}
    assert volumes["b"] == {"configMap": {"name": "c", "optional": False}}
    assert mounts["/b"] == {"name": "b", "subPath": "x", "readOnly": True}


@pytest.mark.parametrize(
    ("uri", "located"),
    [
        pytest.param("s3://lake/a?b", "s3://lake/a?b", id="other stores stay as they are"),
        pytest.param("file:///data//x", "file:///data//x", id="files of the pod likewise"),
        pytest.param("pvc://lake/a/b.csv", "file:///pvc/lake/a/b.csv", id="a file in a claim"),
        pytest.param("pvc://lake/a/", "file:///pvc/lake/a/", id="a folder stays a folder"),
        pytest.param("pvc://lake", "file:///pvc/lake/", id="a whole claim is a folder"),
        pytest.param("pvc://lake/", "file:///pvc/lake/", id="with or without a slash"),
        pytest.param("pvc://lake//a/./*.csv", "file:///pvc/lake/a/*.csv", id="globs are kept"),
        pytest.param("pvc://a.b-1/%20", "file:///pvc/a.b-1/%20", id="nothing is decoded"),
    ],
)
def test_uris_are_mapped_to_where_claims_are_mounted(uri: str, located: str) -> None:
    assert locate(uri) == located


def test_claims_are_found_once_and_in_order() -> None:
    spec = make_job(
        {
            "spec.model.storageUri": "pvc://b/m.onnx",
            "spec.input.storageUris": ["pvc://b/x", "s3://lake/y", "pvc://a/z"],
            "spec.output.storageUri": "pvc://b/out",
        }
    ).spec

    assert find_claims(spec) == (Claim("a", is_written=False), Claim("b", is_written=True))
