"""What holds for the manifests of every job that the API accepts."""

from __future__ import annotations

import copy
import json
import posixpath
import re
from collections import Counter
from typing import Any

from hypothesis import given, settings

from batch_inference_api.problems import parse_job
from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_operator.build.companions import build_companions
from batch_inference_operator.build.job import build_job
from batch_inference_operator.settings import Settings
from kubernetes import client
from testkit.generated_jobs import URI_SECRET, stored_manifests
from testkit.operator_jobs import make_stored_manifest
from testkit.pod_security import find_violations
from testkit.soak import scaled

TOKEN = "t0k3n-c4n4ry"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
EVERYTHING = Settings(allowed_uri_schemes=("file", "s3", "gs", "az", "https", "pvc"))


def build_all(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    job = parse_job(manifest)
    companions = build_companions(
        job,
        number=3,
        owner_name="owner",
        owner_uid="uid-of-owner",
        deadline_seconds=600,
        token=TOKEN,
        settings=EVERYTHING,
    )
    return [build_job(job, number=3, deadline_seconds=600, settings=EVERYTHING), *companions]


def by_kind(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {manifest["kind"]: manifest for manifest in manifests}


@settings(max_examples=scaled(700, soak=2000), deadline=None)
@given(stored_manifests())
def test_every_run_is_restricted_consistent_and_keeps_its_secrets(manifest: dict[str, Any]) -> None:
    """One test, because making thousands of jobs takes longer than all that is asked of them."""
    manifests = build_all(manifest)
    template = by_kind(manifests)["Job"]["spec"]["template"]

    assert find_violations(template) == []
    check_names_and_owners(manifests)
    check_mounts(template["spec"])
    check_resources(template["spec"]["containers"][0]["resources"])
    check_secrets(manifests)
    check_config(manifests, manifest)


def check_names_and_owners(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        metadata = manifest["metadata"]
        pattern = SERVICE_NAME if manifest["kind"] == "Service" else DNS_LABEL
        assert pattern.fullmatch(metadata["name"]), metadata["name"]
        assert "app.kubernetes.io/instance" not in metadata["labels"]
        (owner,) = metadata["ownerReferences"]
        assert owner["controller"] is True
        assert "blockOwnerDeletion" not in owner
    job = by_kind(manifests)["Job"]
    assert len(f"{job['metadata']['name']}-{job['spec']['completions'] - 1}") <= 63


def check_mounts(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    mounts = container["volumeMounts"]
    volumes = Counter(volume["name"] for volume in pod["volumes"])
    assert set(volumes.values()) == {1}
    assert {mount["name"] for mount in mounts} == set(volumes)
    folders = Counter(posixpath.normpath(mount["mountPath"]) for mount in mounts)
    assert set(folders.values()) == {1}
    for mount in mounts:
        below = (other for other in folders if other.startswith(f"{mount['mountPath']}/"))
        assert not list(below), "a folder to mount on cannot be made in a read-only volume"
    claims = Counter(
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if volume["name"].startswith("bij-") and "persistentVolumeClaim" in volume
    )
    assert set(claims.values()) <= {1}


def check_resources(resources: dict[str, Any]) -> None:
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]
    assert set(resources["limits"]) <= set(resources["requests"])
    assert resources["limits"].get("nvidia.com/gpu") == resources["requests"].get("nvidia.com/gpu")


def check_secrets(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        if manifest["kind"] != "Secret":
            text = json.dumps(manifest)
            assert TOKEN not in text
            assert URI_SECRET not in text


def check_config(manifests: list[dict[str, Any]], job: dict[str, Any]) -> None:
    found = by_kind(manifests)
    config = RunnerConfig.parse(found["Secret"]["stringData"]["config.json"])
    (container,) = found["Job"]["spec"]["template"]["spec"]["containers"]
    assert config.job.uid == job["metadata"]["uid"]
    assert config.workers.memory_bytes is not None
    assert config.workers.cpu_millis is not None
    assert config.run.head_address == f"{found['Service']['metadata']['name']}:8080"
    folders = {mount["mountPath"] for mount in container["volumeMounts"]}
    for location in (config.model.location, *config.input.locations, config.output.location):
        assert not location.uri.startswith("pvc://")
        assert location.credentials_dir is None or location.credentials_dir in folders
        if location.uri.startswith("file:///pvc/"):
            assert "/".join(location.uri.split("/")[2:5]) in folders


@settings(max_examples=200, deadline=None)
@given(stored_manifests())
def test_kubernetes_knows_every_field(manifest: dict[str, Any]) -> None:
    """Its client's models refuse unknown fields, so a misspelt one does not get to a cluster."""
    for built in build_all(manifest):
        getattr(client, f"V1{built['kind']}").model_validate(built)


@settings(max_examples=200, deadline=None)
@given(stored_manifests())
def test_whoever_changes_a_manifest_changes_no_other(manifest: dict[str, Any]) -> None:
    job = parse_job(manifest)
    first = build_job(job, number=1, deadline_seconds=None, settings=EVERYTHING)
    untouched = copy.deepcopy(first)
    second = build_job(job, number=1, deadline_seconds=None, settings=EVERYTHING)
    assert second == untouched

    spoil(first)

    assert second == untouched
    assert build_job(job, number=1, deadline_seconds=None, settings=EVERYTHING) == untouched
    assert job == parse_job(manifest)


def test_the_manifests_of_a_run_share_no_part() -> None:
    manifests = build_all(make_stored_manifest({"spec.workers.env": [{"name": "A"}]}))
    parts = [id(part) for manifest in manifests for part in mutable_parts(manifest)]

    assert len(parts) == len(set(parts))


def mutable_parts(value: Any) -> list[Any]:
    """Return every dict and list in a manifest, itself included."""
    if isinstance(value, dict):
        return [value, *(part for item in value.values() for part in mutable_parts(item))]
    if isinstance(value, list):
        return [value, *(part for item in value for part in mutable_parts(item))]
    return []


def spoil(manifest: dict[str, Any]) -> None:
    for part in mutable_parts(manifest):
        part.clear()
