"""What the chart renders, and which values it refuses: by Helm alone, without an API server."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_inference_api.v1alpha1.job import KIND as JOB_KIND
from batch_inference_api.v1alpha1.names import JOB_NAME_LENGTH, JOB_NAME_PATTERN
from testkit.checkout import ROOT
from testkit.helm import CHART, RELEASE, Helm, find_kind
from testkit.prometheus import ALERTS, run_promtool

OWN_PODS = {
    "matchLabels": {
        "app.kubernetes.io/name": "batch-inference-operator",
        "app.kubernetes.io/instance": RELEASE,
    }
}
BY_NODE = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname"}
BY_ZONE = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
ALL_PODS: dict[str, Any] = {"labelSelector": {}}


@pytest.mark.parametrize(
    "values",
    [
        {"monitoring": {"podMonitor": {"enabled": True}, "namespaces": ["monitoring"]}},
        {
            "monitoring": {"podMonitor": {"enabled": True}},
            "runner": {"networkPolicies": False},
        },
    ],
    ids=["of some namespaces", "of everybody"],
)
def test_a_monitor_of_pods_that_can_be_reached_is_rendered(
    helm: Helm, values: dict[str, Any]
) -> None:
    (monitor,) = find_kind(helm.render(values), "PodMonitor")
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "http", "interval": "30s"}]


def test_runs_and_the_job_of_the_test_are_told_of_the_platforms_pull_secrets(helm: Helm) -> None:
    """By the operator's setting: the job of the test names none, as users' jobs need not."""
    values = {
        "runner": {"imagePullSecrets": [{"name": "registry"}, {"name": "registry.mirror"}]},
        "test": {"job": True},
    }
    manifests = helm.render(values)
    (deployment,) = find_kind(manifests, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    setting = {"name": "BIO_RUNNER_IMAGE_PULL_SECRETS", "value": "registry,registry.mirror"}
    assert setting in container["env"]
    job = find_kind(manifests, JOB_KIND)[0]
    assert "imagePullSecrets" not in job["spec"]["workers"]


SPREADS = {
    "one operator": ({}, None),
    "several": (
        {"replicas": 2},
        [{**BY_NODE, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": OWN_PODS}],
    ),
    "a constraint without pods": (
        {"replicas": 2, "topologySpreadConstraints": [BY_ZONE]},
        [{**BY_ZONE, "labelSelector": OWN_PODS}],
    ),
    "a constraint with pods": (
        {"topologySpreadConstraints": [BY_ZONE | ALL_PODS, BY_ZONE]},
        [BY_ZONE | ALL_PODS, {**BY_ZONE, "labelSelector": OWN_PODS}],
    ),
}


@pytest.mark.parametrize(("values", "spread"), SPREADS.values(), ids=SPREADS)
def test_replicas_are_spread_over_nodes_and_by_their_own_labels(
    helm: Helm, values: dict[str, Any], spread: list[dict[str, Any]] | None
) -> None:
    """A constraint without a labelSelector is taken by Kubernetes, and counts no pod."""
    (deployment,) = find_kind(helm.render(values), "Deployment")
    pods = deployment["spec"]["template"]
    assert pods["spec"].get("topologySpreadConstraints") == spread
    assert OWN_PODS["matchLabels"].items() <= pods["metadata"]["labels"].items()


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_strategy_does_not_depend_on_the_replicas(helm: Helm, replicas: int) -> None:
    """With `Recreate` the server refuses the `rollingUpdate` that it has itself set by default."""
    (deployment,) = find_kind(helm.render({"replicas": replicas}), "Deployment")
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


SCRAPED = {"monitoring": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}


def test_each_release_tells_of_its_own_operator_that_is_down(helm: Helm, tmp_path: Path) -> None:
    for release in ("first", "second"):
        manifests = helm.render(SCRAPED, release=release)
        (rule,) = find_kind(manifests, "PrometheusRule")
        (tmp_path / f"{release}.yaml").write_text(json.dumps(rule["spec"]))
        (service,) = find_kind(manifests, "Service")
        # Prometheus's operator names the scrape job after the Service, unless it is told otherwise.
        assert service["metadata"]["name"] == f"{release}-batch-inference-operator-metrics"
        (monitor,) = find_kind(manifests, "ServiceMonitor")
        assert "jobLabel" not in monitor["spec"]
    test = shutil.copy(ROOT / "tests" / "alerts" / "two_releases.yaml", tmp_path)
    run_promtool("test", "rules", str(test))


@pytest.mark.parametrize("values", [{}, {"additionalRuleLabels": None}], ids=["usual", "null"])
def test_alerts_that_are_scraped_in_other_ways_are_those_of_the_file(
    helm: Helm, values: dict[str, Any]
) -> None:
    """With null, Helm takes a default away."""
    (rule,) = find_kind(
        helm.render({"monitoring": {"prometheusRule": {"enabled": True, **values}}}),
        "PrometheusRule",
    )
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())


def test_alerts_are_left_out_labelled_and_given_a_runbook(helm: Helm) -> None:
    silent = ["BatchInferenceJobFailed", "BatchInferenceJobRejectsRows"]
    values = {
        "enabled": True,
        "runbookUrl": "https://wiki.example.com/alerts/",
        "disabled": silent,
        "additionalRuleLabels": {"team": "platform", "severity": "info"},
    }
    (rule,) = find_kind(helm.render({"monitoring": {"prometheusRule": values}}), "PrometheusRule")
    expected = yaml.safe_load(ALERTS.read_text())
    for group in expected["groups"]:
        group["rules"] = [alert for alert in group["rules"] if alert["alert"] not in silent]
        for alert in group["rules"]:
            alert["labels"] |= {"team": "platform", "severity": "info"}
            url = f"https://wiki.example.com/alerts/{alert['alert']}"
            alert["annotations"]["runbook_url"] = url
    assert rule["spec"] == expected


def test_a_group_without_alerts_is_left_out(helm: Helm) -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    of_jobs = [alert["alert"] for alert in groups[0]["rules"]]
    values = {"monitoring": {"prometheusRule": {"enabled": True, "disabled": of_jobs}}}
    (rule,) = find_kind(helm.render(values), "PrometheusRule")
    assert rule["spec"]["groups"] == groups[1:]


def test_a_label_of_one_object_goes_before_the_common_one(helm: Helm) -> None:
    mine = {"team": "scoring", "tier": "1"}
    monitor = {"enabled": True, "labels": mine}
    values = {
        "commonLabels": {"team": "platform", "site": "north"},
        "podLabels": mine,
        "monitoring": {
            "namespaces": ["monitoring"],
            "serviceMonitor": monitor,
            "podMonitor": monitor,
            "prometheusRule": monitor,
            "dashboard": monitor,
        },
    }
    manifests = helm.render(values)
    (deployment,) = find_kind(manifests, "Deployment")
    objects = [deployment["spec"]["template"]]
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"):
        objects += find_kind(manifests, kind)
    assert len(objects) == 5
    common = deployment["metadata"]["labels"]
    assert common["team"] == "platform"
    for found in objects:
        own = {**common, **mine, **found["metadata"]["labels"]}
        assert found["metadata"]["labels"] == own
        assert found["metadata"]["labels"]["team"] == "scoring"


NAMES = {
    "a usual release": {"release": "op"},
    "a release of 23 characters": {"release": "scoring-of-the-platform"},
    "a release of 53 characters": {"release": 26 * "a-" + "a"},
    "a release with dots": {"release": "team.scoring"},
    "a release whose name is cut at its dashes": {"release": 45 * "a" + "------b"},
    "a name of 52 characters": {"fullname": 52 * "a"},
    "a name that is cut at its dashes": {"fullname": 40 * "a" + "-----------b"},
}


@pytest.mark.parametrize("named", NAMES.values(), ids=NAMES)
def test_names_are_those_that_kubernetes_takes(helm: Helm, named: dict[str, str]) -> None:
    values = {"test": {"job": True}, "fullnameOverride": named.get("fullname", "")}
    manifests = helm.render(values, release=named.get("release", RELEASE))
    job = find_kind(manifests, JOB_KIND)[0]
    (service,) = find_kind(manifests, "Service")
    (pod,) = find_kind(manifests, "Pod")
    name = job["metadata"]["name"]
    assert re.fullmatch(JOB_NAME_PATTERN, name)
    assert len(name) <= JOB_NAME_LENGTH
    assert pod["spec"]["containers"][0]["args"] == ["check", f"operators/{name}"]
    assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", service["metadata"]["name"])


def test_the_test_has_all_that_the_operator_has(helm: Helm) -> None:
    """An extraEnv such as SSL_CERT_FILE names a file of an extraVolume."""
    values = {
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/ca/ca.pem"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "private-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    }
    manifests = helm.render(values)
    (deployment,) = find_kind(manifests, "Deployment")
    (pod,) = find_kind(manifests, "Pod")
    own, tests = deployment["spec"]["template"]["spec"], pod["spec"]
    assert values["extraVolumes"][0] in tests["volumes"]
    assert tests["volumes"] == own["volumes"]
    for key in ("env", "volumeMounts", "securityContext", "resources", "image"):
        assert tests["containers"][0][key] == own["containers"][0][key]


def test_the_test_has_the_labels_of_the_release_and_is_placed_like_the_operator(
    helm: Helm,
) -> None:
    values = {
        "commonLabels": {"team": "platform"},
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "high",
        "test": {"job": True},
    }
    manifests = helm.render(values)
    (deployment,) = find_kind(manifests, "Deployment")
    objects = objects_of_the_test(manifests)
    name = f"{deployment['metadata']['name']}-test"
    # The operator's Service, NetworkPolicy and disruption budget select pods by its name.
    labels = {**deployment["metadata"]["labels"], "app.kubernetes.io/name": name}
    assert [found["metadata"]["labels"] for found in objects] == [labels] * len(objects)
    (pod,) = find_kind(objects, "Pod")
    own = deployment["spec"]["template"]["spec"]
    for key in ("affinity", "nodeSelector", "tolerations", "priorityClassName"):
        assert pod["spec"][key] == own[key] == values[key]


NODES = {"preferredDuringSchedulingIgnoredDuringExecution": []}
NEIGHBOURS = {
    "requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": OWN_PODS}
    ]
}


@pytest.mark.parametrize(
    ("nodes", "placed"),
    [({"nodeAffinity": NODES}, {"nodeAffinity": NODES}), ({}, None)],
    ids=["and nodes", "only"],
)
def test_the_test_does_not_avoid_the_operators_neighbours(
    helm: Helm, nodes: dict[str, Any], placed: dict[str, Any] | None
) -> None:
    """With a replica on every node it would have none: the replicas avoid one another."""
    affinity = {"podAntiAffinity": NEIGHBOURS, "podAffinity": NEIGHBOURS, **nodes}
    manifests = helm.render({"affinity": affinity})
    (deployment,) = find_kind(manifests, "Deployment")
    (pod,) = find_kind(manifests, "Pod")
    assert deployment["spec"]["template"]["spec"]["affinity"] == affinity
    assert pod["spec"].get("affinity") == placed


def test_the_test_leaves_nothing_behind_when_it_succeeds_and_everything_when_it_fails(
    helm: Helm,
) -> None:
    """Helm applies hook-succeeded also to the objects before a pod that fails.

    So the last of each, after the pod, replaces the first, and is deleted when all is well.
    """
    objects = objects_of_the_test(helm.render({"test": {"job": True}}))

    def policy(found: dict[str, Any]) -> tuple[str, int, bool]:
        annotations = found["metadata"]["annotations"]
        policies = annotations["helm.sh/hook-delete-policy"].split(",")
        assert policies[0] == "before-hook-creation"
        weight = int(annotations["helm.sh/hook-weight"])
        return found["kind"], weight, policies[1:] == ["hook-succeeded"]

    assert [policy(found) for found in sorted(objects, key=policy)] == [
        (JOB_KIND, 0, False), (JOB_KIND, 2, True),
        ("ConfigMap", 0, False), ("ConfigMap", 2, True),
        ("Pod", 1, True),
    ]  # fmt: skip
    first, last = sorted(find_kind(objects, JOB_KIND), key=policy)
    assert first["spec"] == {**last["spec"], "suspend": False}
    assert last["spec"]["suspend"] is True
    assert first["spec"]["ttlSecondsAfterFinished"] == 3600


def objects_of_the_test(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `helm test` creates."""
    return [
        found
        for found in manifests
        if found["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"
    ]


MIRRORED = {"registry": "registry.example.com"}
UNPUBLISHED = {
    "both": ({}, "batch-inference-operator:1, batch-inference-runner:1"),
    "one": ({"image": MIRRORED}, "batch-inference-runner:1"),
    "none": ({"image": MIRRORED, "runner": {"image": MIRRORED}}, ""),
}


@pytest.mark.parametrize(("values", "told"), UNPUBLISHED.values(), ids=UNPUBLISHED)
def test_an_install_tells_of_images_that_are_in_no_public_registry(
    helm: Helm, values: dict[str, Any], told: str
) -> None:
    tags = ("--set-string=image.tag=1", "--set-string=runner.image.tag=1")
    notes = helm("install", RELEASE, str(CHART), "--dry-run=client", *tags, values=values)
    hint = "No public registry has "
    assert (f"{hint}{told}: " in notes) if told else (hint not in notes)


NO_STRINGS = ("123", "1e3", "off")
"""What YAML reads as a number or a boolean, and Kubernetes takes as a name."""


@pytest.mark.parametrize("word", NO_STRINGS)
def test_a_name_that_yaml_would_not_read_as_one_is_quoted(helm: Helm, word: str) -> None:
    values = {
        "fullnameOverride": word,
        "commonLabels": {"team": word},
        "watchNamespaces": list(NO_STRINGS),
        "image": {"repository": word, "tag": word},
        "imagePullSecrets": [{"name": word}],
        "replicas": 2,
        "runner": {"serviceAccounts": [{"name": word}]},
        "priorityClassName": word,
        "podLabels": {"word": word},
        "serviceAccount": {"name": NO_STRINGS[NO_STRINGS.index(word) - 1]},
        "monitoring": {
            "namespaces": list(NO_STRINGS),
            "service": False,
            "podMonitor": {"enabled": True, "labels": {"release": word}},
            "prometheusRule": {"enabled": True},
            "dashboard": {"enabled": True},
        },
        "test": {"job": True},
    }
    text = helm.template(values, namespace=word, release=word)
    bare = [
        str(token.start_mark)
        for token in yaml.scan(text)
        if isinstance(token, yaml.ScalarToken) and token.plain and token.value in NO_STRINGS
    ]
    assert bare == []
