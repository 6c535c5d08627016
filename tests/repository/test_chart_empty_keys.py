"""Keys of the chart without a value, as `logLevel:` in a file: Helm takes their defaults away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from testkit import previous_release
from testkit.helm import CHART, Helm, HelmFailed

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
EMPTY: tuple[object, ...] = ("", [], {})
REMOVABLE = ("resources", "probes.liveness.", "probes.readiness.", "monitoring.dashboard.labels.")
"""Of Kubernetes, which has a default of its own, or does without."""


def defaults_below(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, default in values.items():
        yield prefix + key, default
        if isinstance(default, dict):
            yield from defaults_below(default, f"{prefix}{key}.")


DEFAULTS = dict(defaults_below(VALUES))
MAY_BE_REMOVED = [key for key in DEFAULTS if key.startswith(REMOVABLE)]
MAY_BE_EMPTY = [key for key, default in DEFAULTS.items() if default in EMPTY]
NEEDED = [key for key in DEFAULTS if key not in MAY_BE_REMOVED + MAY_BE_EMPTY]


ALL_OBJECTS: dict[str, Any] = {
    "replicas": 2,
    "runner": {"networkPolicies": False},  # else a podMonitor needs monitoring.namespaces
    "monitoring": {
        name: {"enabled": True}
        for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")
    },
    "test": {"job": True},
}


def without(key: str) -> dict[str, Any]:
    """Values that have every object rendered, and in which the key has none."""
    values = place = deepcopy(ALL_OBJECTS)
    *parents, name = key.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
    place[name] = None
    return values


@pytest.mark.parametrize("key", NEEDED)
def test_a_key_whose_default_says_something_needs_a_value(helm: Helm, key: str) -> None:
    parent, _, name = key.rpartition(".")
    place = f"'/{parent.replace('.', '/')}'" if parent else "''"
    with pytest.raises(HelmFailed, match=f"at {place}: missing property '{name}'"):
        helm.template(without(key))


@pytest.fixture(scope="module")
def usual(helm: Helm) -> str:
    return helm.template(ALL_OBJECTS)


@pytest.mark.parametrize("key", MAY_BE_EMPTY)
def test_a_key_whose_default_is_empty_may_be_left_empty(helm: Helm, usual: str, key: str) -> None:
    assert helm.template(without(key)) == usual


@pytest.mark.parametrize("key", MAY_BE_REMOVED)
def test_what_kubernetes_need_not_be_told_is_taken_away(helm: Helm, usual: str, key: str) -> None:
    rendered = helm.template(without(key))
    assert len(rendered) < len(usual)
    assert gaps_in(rendered) == []


def test_an_upgrade_may_reuse_the_values_of_the_previous_release(
    helm: Helm, tmp_path: Path
) -> None:
    """With `--reuse-values` Helm takes the old chart's defaults, which lack each new key."""
    chart = Path(shutil.copytree(CHART, tmp_path / "chart"))
    shutil.copy(previous_release.CHART / "values.yaml", chart)
    assert gaps_in(helm.template(ALL_OBJECTS, chart=chart)) == []


def gaps_in(rendered: str) -> list[str]:
    """Lines whose value was taken away."""
    return [line for line in rendered.splitlines() if line.endswith((" null", '"<nil>"'))]
