"""Which values the chart refuses, by their keys, and which it takes as they are."""

from __future__ import annotations

from typing import Any

import pytest

from testkit.helm import Helm, HelmFailed, find_kind

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
BY_ZONE = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
REFUSED = {
    "a misspelt key": ({"replica": 2}, "replica"),
    "a misspelt key further down": ({"crds": {"instal": False}}, "instal"),
    "a misspelt key of an item": ({"imagePullSecrets": [{"nam": "x"}]}, "nam"),
    "a name for a Secret of runs": (
        {"runner": {"imagePullSecrets": ["registry"]}},
        "runner/imagePullSecrets/0",
    ),
    "a word for a number": ({"replicas": "two"}, "replicas"),
    "a word for a list": ({"watchNamespaces": "team-a"}, "watchNamespaces"),
    "a number for a quantity": ({"runner": {"defaultResources": {"cpu": 1}}}, "cpu"),
    "no such scheme": ({"allowed": {"uriSchemes": ["ftp"]}}, "uriSchemes"),
    "no such level": ({"logLevel": "verbose"}, "logLevel"),
    "no digest": ({"image": {"digest": "latest"}}, "digest"),
    "a setting beside its key": (
        {"extraEnv": [{"name": "BIO_LOG_LEVEL", "value": "x"}]},
        "extraEnv: BIO_LOG_LEVEL .*has a key of this chart",
    ),
    "replicas without an election": (
        {"replicas": 2, "leaderElection": {"enabled": False}},
        "replicas: .*leaderElection.enabled",
    ),
    "no account at all": (
        {"serviceAccount": {"create": False}},
        "serviceAccount.name: .*serviceAccount.create",
    ),
    "accounts in no namespace": (
        {"runner": {"serviceAccounts": [{"name": "reader"}]}},
        "runner.serviceAccounts: .*watchNamespaces",
    ),
    "a monitor of nothing": (
        {"monitoring": {"service": False, "serviceMonitor": {"enabled": True}}},
        "monitoring.serviceMonitor.enabled: .*monitoring.service",
    ),
    "a monitor of pods that let nobody in": (
        {"monitoring": {"podMonitor": {"enabled": True}}},
        "monitoring.podMonitor.enabled: .*monitoring.namespaces.*runner.networkPolicies",
    ),
    "a test that may not run": (
        {"test": {"job": True}, "allowed": {"uriSchemes": ["s3"]}},
        "test.job: .*allowed.uriSchemes",
    ),
    "a label that pods are selected by": (
        {"podLabels": {"app.kubernetes.io/name": "x"}},
        "podLabels: app.kubernetes.io/name",
    ),
    "a label of everything that the chart sets": (
        {"commonLabels": {"helm.sh/chart": "x"}},
        "commonLabels: helm.sh/chart",
    ),
    "a label of a monitor that the chart sets": (
        {"monitoring": {"podMonitor": {"labels": {"app.kubernetes.io/instance": "x"}}}},
        "monitoring.podMonitor.labels: app.kubernetes.io/instance",
    ),
    "a label whose value Kubernetes does not take": (
        {"commonLabels": {"team": "a b"}},
        "commonLabels/team.*'a b'",
    ),
    "a label whose name Kubernetes does not take": (
        {"podLabels": {"the team": "a"}},
        r"podLabels.*\n?.*the team",
    ),
    "a label of a prefix that is no domain": (
        {"monitoring": {"dashboard": {"labels": {"Team/name": "a"}}}},
        r"monitoring/dashboard/labels.*\n?.*Team/name",
    ),
    "a label of a name that is too long": (
        {"commonLabels": {64 * "a": "b"}},
        r"commonLabels.*\n?.*aaaa",
    ),
    "an annotation whose name Kubernetes does not take": (
        {"serviceAccount": {"annotations": {"a/b/c": "d"}}},
        r"serviceAccount/annotations.*\n?.*a/b/c",
    ),
    "a liveness that must succeed thrice": (
        {"probes": {"liveness": {"successThreshold": 3}}},
        "probes/liveness/successThreshold",
    ),
    "a probe without a pause": (
        {"probes": {"readiness": {"periodSeconds": 0}}},
        "probes/readiness/periodSeconds",
    ),
    "a Service whose name begins with a digit": (
        {"fullnameOverride": "1op"},
        "fullnameOverride: 1op .*monitoring.service",
    ),
    "a volume of two kinds": (
        {"extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}, "emptyDir": {}}]},
        "extraVolumes/0",
    ),
    "a volume of a misspelt kind": (
        {"extraVolumes": [{"name": "ca", "configmap": {"name": "ca"}}]},
        "extraVolumes/0.*\n?.*configmap",
    ),
    "a misspelt key of a mount": (
        {"extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readonly": True}]},
        "extraVolumeMounts/0.*\n?.*readonly",
    ),
    "a volume that the pod has already": (
        {"extraVolumes": [{"name": "tmp"}]},
        "extraVolumes: tmp .*itself",
    ),
    "a volume twice": (
        {"extraVolumes": [{"name": "ca"}, {"name": "ca", "secret": {}}]},
        "extraVolumes: ca is there twice",
    ),
    "a mount of no volume": (
        {"extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}]},
        "extraVolumeMounts: ca .*extraVolumes",
    ),
    "a mount in the place of one that is there": (
        {
            "extraVolumes": [{"name": "ca"}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/tmp/"}],
        },
        "extraVolumeMounts: /tmp .*itself",
    ),
    "two mounts in one place": (
        {
            "extraVolumes": [{"name": "a"}, {"name": "b"}],
            "extraVolumeMounts": [
                {"name": "a", "mountPath": "/ca"},
                {"name": "b", "mountPath": "/ca/"},
            ],
        },
        "extraVolumeMounts: /ca is there twice",
    ),
    "a variable twice": (
        {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "extraEnv: A is there twice",
    ),
    "a misspelt source of a variable": (
        {"extraEnv": [{"name": "A", "valueFrom": {"secretRef": {}}}]},
        "extraEnv/0/valueFrom.*\n?.*secretRef",
    ),
    "a misspelt key of an egress rule": (
        {"networkPolicy": {"egress": [{"port": [{"port": 443}]}]}},
        "networkPolicy/egress/0.*\n?.*port",
    ),
    "a misspelt peer of an egress rule": (
        {"networkPolicy": {"egress": [{"to": [{"podselector": {}}]}]}},
        "networkPolicy/egress/0/to/0.*\n?.*podselector",
    ),
    "a misspelt key of a spread": (
        {"topologySpreadConstraints": [{**BY_ZONE, "selector": {}}]},
        "topologySpreadConstraints/0.*\n?.*selector",
    ),
    "a neighbour of no pod": (
        {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "zone"}]}}},
        "affinity/podAntiAffinity.*\n?.*labelSelector",
    ),
    "a misspelt key of an affinity": (
        {"affinity": {"nodeAffinity": {"required": {}}}},
        "affinity/nodeAffinity.*\n?.*required",
    ),
    "a claim that no pod has": ({"resources": {"claims": [{"name": "gpu"}]}}, "claims"),
    "a toleration of a value of no key": (
        {"tolerations": [{"operator": "Equal", "value": "x"}]},
        "tolerations/0",
    ),
    "a toleration of every value, and of one": (
        {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]},
        "tolerations/0",
    ),
    "a while for what evicts nobody": (
        {"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]},
        "tolerations/0",
    ),
    "an account that every namespace has": (
        {"watchNamespaces": ["a"], "runner": {"serviceAccounts": [{"name": "default"}]}},
        "runner.serviceAccounts: default .*every namespace",
    ),
    "an account twice": (
        {
            "watchNamespaces": ["a"],
            "runner": {
                "serviceAccounts": [{"name": "b"}, {"name": "b", "annotations": {"c": "d"}}]
            },
        },
        "runner.serviceAccounts: b is there twice",
    ),
    "the operator's own account for jobs": (
        {
            "watchNamespaces": ["operators"],
            "runner": {"serviceAccounts": [{"name": "batch-inference-operator"}]},
        },
        "runner.serviceAccounts: batch-inference-operator is the operator's own",
    ),
    "no such alert": (
        {"monitoring": {"prometheusRule": {"disabled": ["BatchInferenceJobFaild"]}}},
        "monitoring.prometheusRule.disabled: .*BatchInferenceJobFaild.* BatchInferenceJobFailed",
    ),
    "a label of alerts that Prometheus does not know": (
        {"monitoring": {"prometheusRule": {"additionalRuleLabels": {"my-team": "x"}}}},
        r"monitoring/prometheusRule/additionalRuleLabels.*\n?.*my-team",
    ),
    "a runbook that is no address": (
        {"monitoring": {"prometheusRule": {"runbookUrl": "wiki"}}},
        "monitoring/prometheusRule/runbookUrl",
    ),
    "two values of a variable": (
        {"extraEnv": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}]},
        "extraEnv: A has both value and valueFrom",
    ),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_an_install_is_refused_by_the_name_of_the_key(
    helm: Helm, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(HelmFailed, match=message):
        helm.template(values)


def test_a_release_that_begins_with_a_digit_is_refused_for_its_service_only(helm: Helm) -> None:
    with pytest.raises(HelmFailed, match="fullnameOverride: 1op-batch-inference-operator"):
        helm.template({}, release="1op")
    assert helm.render({"monitoring": {"service": False}}, release="1op")
    assert helm.render({"fullnameOverride": "op"}, release="1op")


OWN_PODS = {"matchLabels": {"app.kubernetes.io/name": "batch-inference-operator"}}
NEIGHBOURS = {"topologyKey": "zone", "labelSelector": OWN_PODS, "namespaceSelector": {}}
IN_A_POOL = {"key": "pool", "operator": "In", "values": ["a"]}
TAKEN: dict[str, Any] = {
    "tolerations": [
        {"operator": "Exists"},
        {"key": "a", "value": "x"},
        {"key": "a", "operator": "Exists", "value": ""},
        {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
    ],
    "affinity": {
        "nodeAffinity": {
            REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [IN_A_POOL]}]},
            PREFERRED: [{"weight": 1, "preference": {"matchFields": [IN_A_POOL]}}],
        },
        "podAffinity": {REQUIRED: [NEIGHBOURS]},
        "podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": NEIGHBOURS}]},
    },
    "topologySpreadConstraints": [
        {
            **BY_ZONE,
            "labelSelector": {"matchExpressions": [IN_A_POOL]},
            "matchLabelKeys": ["pod-template-hash"],
            "minDomains": 2,
            "nodeTaintsPolicy": "Honor",
        }
    ],
    "nodeSelector": {"kubernetes.io/os": "linux", "Pool_1.a": ""},
    "extraVolumes": [{"name": "ca", "projected": {"sources": []}}, {"name": "scratch"}],
    "extraVolumeMounts": [
        {"name": "ca", "mountPath": "/ca", "readOnly": True, "subPath": "a"},
        {"name": "ca", "mountPath": "/tmp/ca"},
        {"name": "tmp", "mountPath": "/home"},
    ],
    "networkPolicy": {
        "egress": [
            {
                "to": [
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                    {"namespaceSelector": {}, "podSelector": OWN_PODS},
                ],
                "ports": [{"port": 6443}, {"port": "dns", "protocol": "UDP"}],
            }
        ]
    },
}


def test_what_kubernetes_knows_is_taken_word_for_word(helm: Helm) -> None:
    manifests = helm.render(TAKEN)
    (deployment,) = find_kind(manifests, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    for key in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
        assert pod[key] == TAKEN[key]
    assert [volume for volume in TAKEN["extraVolumes"] if volume not in pod["volumes"]] == []
    (policy,) = find_kind(manifests, "NetworkPolicy")
    assert policy["spec"]["egress"] == TAKEN["networkPolicy"]["egress"]
