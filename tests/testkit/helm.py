"""The chart, by the Helm that was built for the cluster: what it renders, installs and refuses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from testkit.checkout import ROOT
from testkit.cluster.binaries import KUBERNETES_VERSION
from testkit.cluster.kubectl import Kubectl, Manifest
from testkit.cluster.provider import Cluster

CHART = ROOT / "charts" / "batch-inference-operator"
CRD_FILE = CHART / "files" / "crds" / "batchinference.dev_batchinferencejobs.yaml"
RELEASE = "batch-inference"
Values = Mapping[str, Any]


class HelmFailed(Exception):
    """A helm command failed; the message is what it printed."""


@dataclass(frozen=True)
class Helm:
    """Runs helm, as whoever a kubeconfig says."""

    search_path: str
    kubeconfig: Path

    def __call__(self, *arguments: str, values: Values | None = None, seconds: float = 180) -> str:
        """Run a command, with values that are given to it as a file, and return what it prints."""
        flags = [] if values is None else ["--values=-"]
        done = subprocess.run(
            ["helm", *arguments, *flags],
            env={**os.environ, "PATH": self.search_path, "KUBECONFIG": str(self.kubeconfig)},
            input="" if values is None else json.dumps(values),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if done.returncode != 0:
            raise HelmFailed(f"helm {' '.join(arguments)}: {done.stderr.strip()}\n{done.stdout}")
        return done.stdout

    def template(
        self,
        values: Values,
        *,
        namespace: str = "operators",
        release: str = RELEASE,
        chart: Path = CHART,
    ) -> str:
        """Render a chart, its tests too, as text."""
        flags = (f"--namespace={namespace}", f"--kube-version={KUBERNETES_VERSION}")
        return self("template", release, str(chart), *flags, values=values)

    def render(
        self, values: Values, *, namespace: str = "operators", release: str = RELEASE
    ) -> list[Manifest]:
        """Render the chart, its tests too; a key that is there twice is an error."""
        text = self.template(values, namespace=namespace, release=release)
        return [found for found in yaml.load_all(text, _EachKeyOnce) if found]


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses what the API server refuses, and PyYAML takes: one key with two values."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key is there twice: {sorted(keys)}"
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Release:
    """A release of the chart in a namespace."""

    helm: Helm
    kubectl: Kubectl
    """In the release's namespace."""
    values: Values
    name: str = RELEASE
    chart: Path = field(default=CHART)

    @property
    def namespace(self) -> str:
        assert self.kubectl.namespace is not None
        return self.kubectl.namespace

    def install(self, *flags: str) -> str:
        """Install it, and wait as users do; returns the notes."""
        return self._run("install", *flags, "--wait", "--timeout=90s", values=self.values)

    def upgrade(self, *flags: str, **values: Any) -> str:
        """Change some of the values."""
        changed = {**self.values, **values}
        return self._run("upgrade", *flags, "--wait", "--timeout=90s", values=changed)

    def rollback(self, *flags: str) -> str:
        """Go back to the revision before."""
        place = self._place()
        return self.helm("rollback", self.name, place, *flags, "--wait", "--timeout=90s")

    def test(self) -> str:
        return self.helm("test", self.name, self._place(), "--logs", "--timeout=240s", seconds=250)

    def uninstall(self) -> str:
        return self.helm("uninstall", self.name, self._place(), "--wait", "--timeout=90s")

    def _run(self, command: str, *flags: str, values: Values) -> str:
        return self.helm(command, self.name, str(self.chart), self._place(), *flags, values=values)

    def _place(self) -> str:
        return f"--namespace={self.namespace}"


def helm_of(cluster: Cluster) -> Helm:
    return Helm(cluster.search_path, cluster.kubeconfig)


def image_value(name: str) -> dict[str, str]:
    """The chart's value for an image that is on the nodes."""
    repository, _, tag = name.rpartition(":")
    return {"repository": repository, "tag": tag, "pullPolicy": "Never"}


def find_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [found for found in manifests if found["kind"] == kind]
