"""Whatever a manifest of the GitOps example names is there, and the images are yours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from testkit.checkout import ROOT

EXAMPLES = ROOT / "examples" / "gitops"


def manifests() -> Iterator[dict[str, Any]]:
    for tool in ("argo-cd", "flux"):
        for path in sorted((EXAMPLES / tool).rglob("*.yaml")):
            yield from (
                found for found in yaml.safe_load_all(path.read_text()) if "metadata" in found
            )


MANIFESTS = {f"{found['kind']}/{found['metadata']['name']}": found for found in manifests()}


def names_in(kind: str, spec: dict[str, Any]) -> set[str]:
    """The other manifests that one of this kind needs, as `kind/name`."""
    named = [spec[key] for key in ("sourceRef", "chartRef") if key in spec]
    named += [{"kind": kind, **other} for other in spec.get("dependsOn", ())]
    return {f"{other['kind']}/{other['name']}" for other in named}


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_a_manifest_refers_to_is_in_the_example(name: str) -> None:
    found = MANIFESTS[name]
    assert names_in(found["kind"], found["spec"]) - set(MANIFESTS) == set()


def test_every_path_counts_from_the_root_of_the_example() -> None:
    specs = [found["spec"] for found in MANIFESTS.values()]
    paths = [spec.get("path") or spec.get("source", {}).get("path") for spec in specs]
    shown = [path for path in paths if path]
    assert len(shown) == 3
    assert [path for path in shown if not any((EXAMPLES / path).glob("*.yaml"))] == []


@pytest.mark.parametrize(
    "values",
    [
        MANIFESTS["HelmRelease/batch-inference"]["spec"]["values"],
        MANIFESTS["Application/batch-inference-operator"]["spec"]["source"]["helm"]["valuesObject"],
    ],
    ids=["Flux", "Argo CD"],
)
def test_both_images_come_from_a_registry(values: dict[str, Any]) -> None:
    for image in (values["image"], values["runner"]["image"]):
        assert set(image) == {"registry", "repository"}, "the tag is the chart's version"


def test_the_release_has_a_name_of_its_own() -> None:
    assert MANIFESTS["HelmRelease/batch-inference"]["spec"]["releaseName"] == "batch-inference"


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_an_overlay_brings_its_namespace(overlay: str) -> None:
    folder = EXAMPLES / "jobs" / "overlays" / overlay
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
    (namespace,) = (
        found
        for resource in listed["resources"]
        if (folder / resource).is_file()
        for found in yaml.safe_load_all((folder / resource).read_text())
    )
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", listed["namespace"])
