"""The template of a run's pods."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_operator.build.ownership import labels_of_run
from batch_inference_operator.build.pod import build_pod_template
from batch_inference_operator.settings import Settings
from testkit.operator_jobs import make_job

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


def built_pod(changes: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    return build_pod_template(make_job(changes), number=1, settings=Settings(**settings))["spec"]


def built_container(changes: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    (container,) = built_pod(changes, **settings)["containers"]
    return container


def short_patience(taint: str) -> dict[str, Any]:
    return {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}


def test_pods_ask_meshes_for_no_sidecar_whatever_their_job_is_labelled() -> None:
    theirs = {"sidecar.istio.io/inject": "true", "linkerd.io/inject": "enabled"}
    job = make_job({"metadata.labels": theirs, "metadata.annotations": theirs})

    assert build_pod_template(job, number=1, settings=Settings())["metadata"] == {
        "labels": labels_of_run(job, 1) | {"sidecar.istio.io/inject": "false"},
        "annotations": {"linkerd.io/inject": "disabled"},
    }


def test_what_a_job_leaves_out_is_left_to_the_cluster() -> None:
    pod = built_pod()

    del pod["containers"], pod["volumes"]
    assert pod == {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        "serviceAccountName": "default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [short_patience(NOT_READY), short_patience(UNREACHABLE)],
    }


def test_what_a_job_says_about_its_place_is_taken_word_for_word() -> None:
    spread = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": {"a": "b"}},
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        }
    }
    placement = {
        "nodeSelector": {"pool": "gpu"},
        "affinity": spread,
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "schedulerName": "volcano",
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "scorer",
    }

    pod = built_pod({f"spec.workers.{field}": value for field, value in placement.items()})

    assert placement.items() <= pod.items()


def test_the_platforms_pull_secrets_are_used_beside_the_jobs_own_and_each_once() -> None:
    mine = {"spec.workers.imagePullSecrets": [{"name": "mine"}, {"name": "shared"}]}
    platform = {"runner_image_pull_secrets": ("shared", "platform")}

    def named(pod: dict[str, Any]) -> list[str]:
        return [secret["name"] for secret in pod["imagePullSecrets"]]

    assert named(built_pod(mine, **platform)) == ["mine", "shared", "platform"]
    assert named(built_pod(**platform)) == ["shared", "platform"]


def test_the_container_runs_the_supervisor_and_is_killed_when_that_stops() -> None:
    container = built_container()

    del container["resources"], container["volumeMounts"], container["env"]
    assert container == {
        "name": "runner",
        "image": "batch-inference-runner:latest",
        "imagePullPolicy": "IfNotPresent",
        "args": ["pod", "--config", "/etc/bij/run/config.json"],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": 8081},
            "initialDelaySeconds": 10,
            "periodSeconds": 15,
            "timeoutSeconds": 5,
            "failureThreshold": 5,
        },
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "File",
    }


def test_a_stopped_supervisor_is_killed_within_60_to_90_seconds() -> None:
    probe, grace_seconds = built_container()["livenessProbe"], 10
    between = probe["periodSeconds"] * (probe["failureThreshold"] - 1) + probe["timeoutSeconds"]

    assert between >= 60
    assert between + probe["periodSeconds"] + grace_seconds <= 90


def test_the_job_s_image_goes_before_the_settings() -> None:
    container = built_container(
        {"spec.workers.image": "registry.example.com/mine"},
        runner_image="registry.example.com/runner@sha256:1",
        runner_image_pull_policy="Always",
    )

    assert container["image"] == "registry.example.com/mine"
    assert container["imagePullPolicy"] == "Always"


def test_the_run_s_own_variables_come_last_and_cannot_be_replaced() -> None:
    container = built_container(
        {
            "spec.workers.env": [
                {"name": "JOB_COMPLETION_INDEX", "value": "0"},
                {"name": "EMPTY", "value": ""},
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "spec.workers.envFrom": [{"configMapRef": {"name": "c", "optional": False}}],
        }
    )

    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert container["env"] == [
        {"name": "EMPTY", "value": ""},
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "BIJ_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": index}}},
    ]
    assert container["envFrom"] == [{"configMapRef": {"name": "c", "optional": False}}]


@pytest.mark.parametrize(
    ("asked", "added"),
    [
        pytest.param(
            {"key": "nvidia.com/gpu", "operator": "Exists"},
            [NOT_READY, UNREACHABLE],
            id="another taint says nothing about lost nodes",
        ),
        pytest.param(
            {"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"},
            [UNREACHABLE],
            id="a job may wait for ever for a node that is not ready",
        ),
        pytest.param(
            {"key": UNREACHABLE, "operator": "Exists"},
            [NOT_READY],
            id="a toleration without an effect has every effect",
        ),
        pytest.param(
            {"key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"},
            [NOT_READY, UNREACHABLE],
            id="being scheduled is not the same as staying",
        ),
        pytest.param(
            {"operator": "Exists"},
            [NOT_READY, UNREACHABLE],
            id="tolerating every taint is meant for nodes that work",
        ),
    ],
)
def test_lost_nodes_are_left_soon_unless_the_job_says_otherwise(
    asked: dict[str, Any], added: list[str]
) -> None:
    tolerations = built_pod({"spec.workers.tolerations": [asked]})["tolerations"]

    assert tolerations == [*map(short_patience, added), asked], "the first that fits counts"
