"""One version is named by everything that is released together."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from batch_inference_runner.version import VERSION
from testkit.checkout import ROOT

PROJECTS = ("crds", "operator", "runner")


def project(folder: str) -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("folder", PROJECTS)
def test_projects_have_the_version_of_the_runner(folder: str) -> None:
    assert project(folder)["version"] == VERSION


@pytest.mark.parametrize("folder", ["operator", "runner"])
def test_operator_and_runner_ask_for_the_api_of_their_version(folder: str) -> None:
    (asked,) = (each for each in project(folder)["dependencies"] if "batch-inference-api" in each)
    assert asked == f"batch-inference-api=={VERSION}"


@pytest.mark.parametrize("folder", ["operator", "runner"])
def test_images_are_labelled_with_it(folder: str) -> None:
    text = (ROOT / folder / "Dockerfile").read_text()
    assert re.findall(r'image\.version="(.*)"', text) == [VERSION]


def test_chart_and_operator_are_released_together() -> None:
    chart = yaml.safe_load((ROOT / "charts/batch-inference-operator/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_changelog_begins_with_it() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == VERSION


def test_the_gitops_examples_install_its_patches() -> None:
    major, minor, _ = map(int, VERSION.split("."))
    examples = ROOT / "examples" / "gitops"
    argo = yaml.safe_load((examples / "argo-cd" / "operator.yaml").read_text())
    release = examples / "flux" / "operator" / "release.yaml"
    flux, _ = yaml.safe_load_all(release.read_text())
    assert argo["spec"]["source"]["targetRevision"] == f"{major}.{minor}.*"
    assert flux["spec"]["ref"]["semver"] == f">={major}.{minor}.0 <{major}.{minor + 1}.0"
