"""Service, Secret and NetworkPolicy of a run."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_operator.build.companions import build_companions
from batch_inference_operator.build.runner_config import build_runner_config
from batch_inference_operator.names import run_name, service_name
from batch_inference_operator.settings import Settings
from testkit.operator_jobs import JOB_UID, make_job

RUN = {"batchinference.dev/job-uid": JOB_UID, "batchinference.dev/run": "2"}
NAME = run_name("churn", JOB_UID, 2)


def built(changes: dict[str, Any] | None = None, **settings: Any) -> dict[str, dict[str, Any]]:
    manifests = build_companions(
        make_job(changes),
        number=2,
        owner_name=NAME,
        owner_uid="uid-of-job",
        deadline_seconds=600,
        token="a-token",
        settings=Settings(**settings),
    )
    return {manifest["kind"]: manifest for manifest in manifests}


def test_they_are_created_in_an_order_in_which_no_pod_is_ever_open_to_everybody() -> None:
    assert list(built()) == ["NetworkPolicy", "Secret", "Service"]


@pytest.mark.parametrize("kind", ["NetworkPolicy", "Secret", "Service"])
def test_each_belongs_to_the_run_s_job(kind: str) -> None:
    assert built()[kind]["metadata"] == {
        "name": NAME,
        "namespace": "scoring",
        "labels": RUN
        | {
            "batchinference.dev/job-name": "churn",
            "app.kubernetes.io/managed-by": "batch-inference-operator",
            "app.kubernetes.io/component": "runner",
        },
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": NAME,
                "uid": "uid-of-job",
                "controller": True,
            }
        ],
    }


def test_the_service_leads_to_index_0_whether_it_is_ready_or_not() -> None:
    assert built()["Service"]["spec"] == {
        "type": "ClusterIP",
        "publishNotReadyAddresses": True,
        "selector": RUN | {"batch.kubernetes.io/job-completion-index": "0"},
        "ports": [{"name": "http", "port": 8080, "targetPort": 8080, "protocol": "TCP"}],
    }


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param("churn-e1ed94", "churn-e1ed94", id="the name of the run"),
        pytest.param("2026-churn-e1ed94", "bij-2026-churn-e1ed94", id="but a letter goes first"),
    ],
)
def test_a_service_is_called_as_an_api_server_wants(run: str, expected: str) -> None:
    assert service_name(run) == expected


def test_pods_look_for_the_service_by_its_own_name() -> None:
    found = built({"metadata.name": "2026-churn"})

    config = RunnerConfig.parse(found["Secret"]["stringData"]["config.json"])
    assert config.run.head_address == f"{found['Service']['metadata']['name']}:8080"


def test_the_secret_holds_the_config_and_the_token_for_good() -> None:
    secret = built()["Secret"]
    config = build_runner_config(make_job(), number=2, deadline_seconds=600, settings=Settings())

    del secret["metadata"]
    assert secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "stringData": {"config.json": config.model_dump_json(), "token": "a-token"},
    }


def test_a_run_lets_in_its_own_pods_and_the_operator() -> None:
    assert built(namespace="operators")["NetworkPolicy"]["spec"] == {
        "podSelector": {"matchLabels": RUN},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": RUN}}]},
            {
                "from": [
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": "operators"}
                        },
                        "podSelector": {
                            "matchLabels": {"app.kubernetes.io/name": "batch-inference-operator"}
                        },
                    }
                ],
                "ports": [{"protocol": "TCP", "port": 8080}],
            },
        ],
    }


def test_monitoring_is_let_in_where_metrics_are() -> None:
    policy = built(monitoring_namespaces=("monitoring", "observability"))["NetworkPolicy"]

    own, others = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": RUN}}]}
    assert others["from"][1:] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in ("monitoring", "observability")
    ]
    assert others["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_a_platform_with_policies_of_its_own_gets_none() -> None:
    assert list(built(network_policies=False)) == ["Secret", "Service"]
