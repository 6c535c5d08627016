"""What the chart makes of its values, judged by the API server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from batch_inference_operator.cluster.rights import (
    JOB_RIGHTS,
    LEASE_RIGHTS,
    NETWORK_POLICY_RIGHTS,
)
from batch_inference_operator.settings import Settings
from testkit.cluster.api_server import Manifest, RequestFailed
from testkit.cluster.namespaces import Namespace
from testkit.cluster.provider import Cluster
from testkit.helm import CHART, CRD_FILE, Helm, find_kind, helm_of
from testkit.operator_installation import DEPLOYMENT
from testkit.prometheus import alert_queries
from testkit.roles import rights_of

JOBS = "batchinferencejobs.batchinference.dev"
PROMETHEUS_KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
DIGEST = "sha256:" + 64 * "0"
EVERYTHING: dict[str, Any] = {
    "fullnameOverride": "scoring-operator",
    "commonLabels": {"team": "platform"},
    "image": {"registry": "registry.example:5000", "repository": "ml/operator", "digest": DIGEST},
    "imagePullSecrets": [{"name": "pull"}],
    "replicas": 3,
    "runner": {
        "image": {"registry": "registry.example:5000", "repository": "ml/runner", "tag": "7"},
        "imagePullSecrets": [{"name": "pull"}, {"name": "mirror"}],
        "defaultResources": {"cpu": "500m", "memory": "4Gi"},
    },
    "allowed": {
        "images": ["registry.example/*"],
        "serviceAccounts": ["reader", "writer-*"],
        "uriSchemes": ["s3", "pvc", "file"],
    },
    "jobDefaults": {
        "preRunningDeadlineSeconds": 1800,
        "progressDeadlineSeconds": 900,
        "ttlSecondsAfterFinished": 1_000_000,
    },
    "concurrency": 5,
    "resyncSeconds": 60,
    "progressSeconds": 2,
    "fenceSeconds": 30,
    "syncDeadlineSeconds": 300,
    "logLevel": "debug",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": DEPLOYMENT}},
                }
            ]
        }
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "podLabels": {"azure.workload.identity/use": "true"},
    "annotations": {"owner": "platform"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/private-ca"}],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    "networkPolicy": {"egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]},
    "monitoring": {
        "namespaces": ["monitoring"],
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True, "interval": "10s"},
        "prometheusRule": {
            "enabled": True,
            "runbookUrl": "https://wiki.example/alerts",
            "additionalRuleLabels": {"team": "platform"},
        },
        "dashboard": {"enabled": True},
    },
    "test": {"job": True},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "by default": {},
    "with everything": EVERYTHING,
    "without what can be left out": {
        "crds": {"install": False},
        "leaderElection": {"enabled": False},
        "runner": {"networkPolicies": False},
        "rbac": {"userRoles": False},
        "networkPolicy": {"enabled": False},
        "monitoring": {"service": False},
        "resources": None,
        "watchNamespaces": None,
    },
    "with rights that somebody else gives": {
        "serviceAccount": {"create": False, "name": "mine"},
        "rbac": {"create": False},
    },
    "as part of another chart": {"global": {"imageRegistry": "registry.example"}},
}


@pytest.fixture
def helm(cluster: Cluster) -> Helm:
    return helm_of(cluster)


@pytest.fixture(scope="module")
def crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD_FILE))
    name = f"crd/{JOBS}"
    cluster.kubectl.wait_until_established(name)


def dry_run(manifests: list[Manifest], namespace: Namespace) -> None:
    """Have the API server check manifests strictly, against the schema of each kind."""
    for pod in find_kind(manifests, "Pod"):
        # Without its account a pod is refused, whatever else is right or wrong with it.
        namespace.kubectl("create", "serviceaccount", pod["spec"]["serviceAccountName"])
    namespace.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"),
        *("-f", "-"),
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}),
    )


def environment_of(manifests: list[Manifest]) -> dict[str, str]:
    (deployment,) = find_kind(manifests, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {found["name"]: found.get("value", "") for found in container["env"]}


def test_lint_finds_nothing(helm: Helm) -> None:
    helm("lint", "--strict", str(CHART))
    helm("lint", "--strict", str(CHART), values=EVERYTHING)


@pytest.mark.usefixtures("crd", "foreign_kinds")
@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_the_api_server_accepts_the_chart(
    helm: Helm, namespace: Namespace, values: dict[str, Any]
) -> None:
    dry_run(helm.render(values, namespace=namespace.name), namespace)


@pytest.mark.usefixtures("crd", "foreign_kinds")
def test_the_api_server_accepts_the_chart_for_one_namespace(
    helm: Helm, namespace: Namespace
) -> None:
    accounts = [{"name": "reader", "annotations": {"iam.gke.io/gcp-service-account": "r@p"}}]
    values = {
        **EVERYTHING,
        "watchNamespaces": [namespace.name],
        "runner": {"serviceAccounts": accounts},
    }
    dry_run(helm.render(values, namespace=namespace.name), namespace)


@pytest.mark.usefixtures("foreign_kinds")
@pytest.mark.parametrize("kind", PROMETHEUS_KINDS)
def test_what_prometheus_does_not_know_would_be_refused(
    helm: Helm, namespace: Namespace, kind: str
) -> None:
    (found,) = find_kind(helm.render(EVERYTHING, namespace=namespace.name), kind)
    found["spec"]["misspelt"] = True
    with pytest.raises(RequestFailed, match="misspelt"):
        dry_run([found], namespace)


def test_every_setting_of_the_operator_has_a_value(helm: Helm) -> None:
    environment = environment_of(helm.render({}))
    assert set(environment) == {f"BIO_{name.upper()}" for name in Settings.model_fields}


def test_defaults_of_the_chart_are_those_of_the_operator(helm: Helm) -> None:
    environment = environment_of(helm.render({}))
    given = {name.removeprefix("BIO_").lower(): value for name, value in environment.items()}
    own = {"namespace", "pod_name", "runner_image"}  # what a pod is told, and the release's image
    expected = Settings(_env_file=None).model_dump(exclude=own)
    found = Settings(_env_file=None, **{k: v for k, v in given.items() if k not in own})
    assert found.model_dump(exclude=own) == expected


def test_values_become_settings(helm: Helm) -> None:
    environment = environment_of(helm.render(EVERYTHING))
    found = {name: value for name, value in environment.items() if value}
    assert found == {
        "BIO_RUNNER_IMAGE": "registry.example:5000/ml/runner:7",
        "BIO_RUNNER_IMAGE_PULL_POLICY": "IfNotPresent",
        "BIO_RUNNER_IMAGE_PULL_SECRETS": "pull,mirror",
        "BIO_ALLOWED_IMAGES": "registry.example/*",
        "BIO_ALLOWED_SERVICE_ACCOUNTS": "reader,writer-*",
        "BIO_ALLOWED_URI_SCHEMES": "s3,pvc,file",
        "BIO_DEFAULT_CPU": "500m",
        "BIO_DEFAULT_MEMORY": "4Gi",
        "BIO_LEASE_NAME": "scoring-operator",
        "BIO_LEADER_ELECTION": "true",
        "BIO_CONCURRENCY": "5",
        "BIO_RESYNC_SECONDS": "60",
        "BIO_PROGRESS_SECONDS": "2",
        "BIO_FENCE_SECONDS": "30",
        "BIO_SYNC_DEADLINE_SECONDS": "300",
        "BIO_PRE_RUNNING_DEADLINE_SECONDS": "1800",
        "BIO_PROGRESS_DEADLINE_SECONDS": "900",
        "BIO_TTL_SECONDS_AFTER_FINISHED": "1000000",
        "BIO_NETWORK_POLICIES": "true",
        "BIO_MONITORING_NAMESPACES": "monitoring",
        "BIO_HEALTH_PORT": "8081",
        "BIO_LOG_LEVEL": "debug",
        "HTTPS_PROXY": "http://proxy.example:3128",
    }


def test_the_operator_may_do_what_it_needs_and_nothing_else(helm: Helm) -> None:
    manifests = helm.render({"rbac": {"userRoles": False}})
    in_the_cluster = rights_of(find_kind(manifests, "ClusterRole"))
    assert in_the_cluster == sorted(JOB_RIGHTS + NETWORK_POLICY_RIGHTS)
    assert rights_of(find_kind(manifests, "Role")) == sorted(LEASE_RIGHTS)


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("namespaces", [[], ["team-a", "team-b"]], ids=["all", "some"])
def test_no_rule_has_a_wildcard_or_reads_a_secret(
    helm: Helm, values: dict[str, Any], namespaces: list[str]
) -> None:
    manifests = helm.render({**values, "watchNamespaces": namespaces})
    rights = rights_of(find_kind(manifests, "ClusterRole") + find_kind(manifests, "Role"))
    assert [right for right in rights if "*" in str(right)] == []
    of_secrets = {str(right) for right in rights if right.resource == "secrets"}
    is_given = values.get("rbac", {}).get("create", True)
    assert of_secrets == ({"create secrets"} if is_given else set())


def test_an_operator_for_some_namespaces_has_nothing_cluster_scoped(helm: Helm) -> None:
    values = {"watchNamespaces": ["team-a", "team-b"], "crds": {"install": False}}
    manifests = helm.render(values, namespace="team-a")
    assert [found["kind"] for found in manifests if "namespace" not in found["metadata"]] == []
    roles = find_kind(manifests, "Role")
    in_namespaces = {
        namespace: rights_of([role for role in roles if role["metadata"]["namespace"] == namespace])
        for namespace in ("team-a", "team-b")
    }
    per_namespace = JOB_RIGHTS + NETWORK_POLICY_RIGHTS
    assert in_namespaces == {
        "team-a": sorted(per_namespace + LEASE_RIGHTS),
        "team-b": sorted(per_namespace),
    }


def test_only_users_get_cluster_wide_roles_beside_the_operator(helm: Helm) -> None:
    roles = find_kind(helm.render({}), "ClusterRole")
    aggregated = {
        label.rpartition("-")[2]: [str(right) for right in rights_of([role])]
        for role in roles
        for label in role["metadata"]["labels"]
        if "aggregate-to" in label
    }
    assert aggregated == {
        "view": [f"{verb} {JOBS}" for verb in ("get", "list", "watch")],
        "edit": [
            f"{verb} {JOBS}" for verb in ("create", "delete", "deletecollection", "patch", "update")
        ],
        "admin": [f"{verb} {JOBS}/status" for verb in ("get", "patch", "update")],
    }


def test_the_crd_outlives_the_release_only_if_it_should(helm: Helm) -> None:
    policies = {}
    for keep in (True, False):
        (crd,) = find_kind(helm.render({"crds": {"keep": keep}}), "CustomResourceDefinition")
        policies[keep] = crd["metadata"].get("annotations")
    assert policies == {True: {"helm.sh/resource-policy": "keep"}, False: None}


def test_the_crd_is_the_one_that_is_generated(helm: Helm) -> None:
    (crd,) = find_kind(helm.render({}), "CustomResourceDefinition")
    assert crd["spec"] == yaml.safe_load(CRD_FILE.read_text())["spec"]


def test_monitoring_says_what_is_scraped(helm: Helm) -> None:
    manifests = helm.render({**EVERYTHING, "watchNamespaces": ["team"]})
    (service,) = (found for found in find_kind(manifests, "Service"))
    (monitor,) = find_kind(manifests, "ServiceMonitor")
    (pods,) = find_kind(manifests, "PodMonitor")
    (rule,) = find_kind(manifests, "PrometheusRule")
    (dashboard,) = find_kind(manifests, "ConfigMap")[:1]
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "interval": "30s"}]
    assert pods["spec"]["namespaceSelector"] == {"matchNames": ["team"]}
    assert pods["spec"]["podMetricsEndpoints"] == [{"port": "http", "interval": "10s"}]
    told = [alert["alert"] for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert told == list(alert_queries())
    files = {"batch-inference.json": (CHART / "files" / "dashboard.json").read_text()}
    assert dashboard["data"] == files
