"""Stored jobs of every shape that the API accepts, for property tests of the operator.

Each field has a handful of values that differ in what matters, and they are combined at random.
Hypothesis draws the seed only: if it drew each value, thousands of jobs would take a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from testkit.operator_jobs import JOB_UID, make_stored_manifest

if TYPE_CHECKING:
    from random import Random

URI_SECRET = "X-Amz-Signature=5e1f-c4n4ry"
"""Part of some of the URIs of generated jobs: a signature that must not be told to everybody."""

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NODES = {
    "matchExpressions": [
        {"key": "zone", "operator": "In", "values": ["a", "b"]},
        {"key": "gpu", "operator": "Exists"},
    ]
}
_NEIGHBOURS = {
    "topologyKey": "kubernetes.io/hostname",
    "labelSelector": {"matchLabels": {"app": "x"}},
}
_NOT_READY, _UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"

_RESOURCES = (
    {},
    {"requests": {"cpu": "500m"}},
    {"requests": {"memory": "8Gi"}},
    {"limits": {"cpu": 2, "memory": 4294967296}},
    {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    {"requests": {"nvidia.com/gpu": 1}},
    {"limits": {"nvidia.com/gpu": "2"}},
    {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}},
    {"requests": {"ephemeral-storage": "1Gi", "hugepages-2Mi": "64Mi"}},
)
_TOLERATIONS = (
    [],
    [{"operator": "Exists"}],
    [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    [{"key": _NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}],
    [{"key": _UNREACHABLE, "value": "", "tolerationSeconds": 300, "effect": "NoExecute"}],
)
_AFFINITIES = (
    {},
    {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": [_NODES, {}]}}},
    {"nodeAffinity": {_PREFERRED: [{"weight": 1, "preference": _NODES}]}},
    {"podAffinity": {_REQUIRED: [_NEIGHBOURS]}},
    {"podAntiAffinity": {_PREFERRED: [{"weight": 100, "podAffinityTerm": _NEIGHBOURS}]}},
)
_ENV = (
    [],
    [{"name": "A", "value": ""}, {"name": "A", "value": "$(B)"}],
    [{"name": "JOB_COMPLETION_INDEX", "value": "0"}],
    [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": False}}}],
    [{"name": "Q"}, {"name": "R", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
)
_ENV_FROM = (
    [],
    [{"secretRef": {"name": "s"}, "prefix": "S_"}],
    [{"configMapRef": {"name": "c", "optional": True}}, {"secretRef": {"name": "s"}}],
)
_SOURCES = (
    {"persistentVolumeClaim": {"claimName": "data"}},
    {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
    {"secret": {"secretName": "s", "optional": False}},
    {"configMap": {"name": "c"}},
    {"emptyDir": {"sizeLimit": 1000000}},
    {"emptyDir": {}},
)
_WORKERS: dict[str, tuple[Any, ...]] = {
    "replicas": (1, 2, 1000),
    "resources": _RESOURCES,
    "nodeSelector": ({}, {"pool": "gpu", "empty": ""}),
    "tolerations": _TOLERATIONS,
    "affinity": _AFFINITIES,
    "priorityClassName": ("high",),
    "runtimeClassName": ("nvidia",),
    "schedulerName": ("my-scheduler",),
    "serviceAccountName": ("default", "scorer"),
    "image": ("registry.example.com/runner@sha256:1",),
    "imagePullSecrets": ([], [{"name": "registry"}]),
    "env": _ENV,
    "envFrom": _ENV_FROM,
}
_READ = (
    "s3://bucket/a.onnx",
    f"https://example.com/a.onnx?{URI_SECRET}",
    "file:///mnt/v0/a.onnx",
    "pvc://data/in/",
    "pvc://models/a.onnx",
    "pvc://team.a-1",
)
_WRITTEN = ("gs://bucket/out/", "az://container/out", "file:///mnt/v0/", "pvc://data/out/")
_QUEUES = ({}, {"kueue.x-k8s.io/queue-name": "q", "app.kubernetes.io/instance": "argo"})


def stored_manifests() -> st.SearchStrategy[dict[str, Any]]:
    """Draw the manifest of a job that is valid and stored, with any of the fields of `workers`."""
    return st.randoms(use_true_random=True).map(make_any)


def make_any(random: Random) -> dict[str, Any]:
    """Make a valid manifest of a stored job, with any of the fields of `workers`."""
    changes: dict[str, Any] = {
        "metadata.name": random.choice(["a", "2026-churn", "c" * 52, "7" * 52]),
        "metadata.uid": random.choice([JOB_UID, "f" * 36]),
        "metadata.labels": random.choice(_QUEUES),
        "spec.model.storageUri": random.choice(_READ),
        "spec.input.storageUris": random.sample(_READ, random.randint(1, 3)),
        "spec.output.storageUri": random.choice(_WRITTEN),
        "spec.workers": _make_workers(random),
    }
    for role in ("model", "input", "output"):
        if random.random() < 0.5:
            changes[f"spec.{role}.secretRef"] = {"name": random.choice(["store", "other.store"])}
    if "gpu" in str(changes["spec.workers"].get("resources")):
        changes["spec.execution.executionProviders"] = ["CUDAExecutionProvider"]
    return make_stored_manifest(changes)


def _make_workers(random: Random) -> dict[str, Any]:
    """Make half of the fields, and up to three volumes, each of them mounted."""
    workers = {
        name: random.choice(values) for name, values in _WORKERS.items() if random.random() < 0.5
    }
    sources = random.choices(_SOURCES, k=random.randint(0, 3))
    return workers | {
        "volumes": [{"name": f"v{number}", **source} for number, source in enumerate(sources)],
        "volumeMounts": [
            {"name": f"v{number}", "mountPath": f"/mnt/v{number}", "subPath": "a/b"}
            for number in range(len(sources))
        ],
    }
