"""What is installed is pinned, hashed, and what the packages ask for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from testkit.checkout import ROOT

FOLDER = ROOT / "requirements"
LAYERS = ("build", "runtime", "gpu", "examples", "operator", "dev")
OWN = {"batch-inference-api", "batch-inference-operator", "batch-inference-runner"}


def asked_for(path: Path) -> list[Requirement]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pinned(path: Path) -> list[Requirement]:
    """Return the pins of a lock file, whose continued lines hold the hashes."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.split("--hash")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_requirement_is_pinned_with_its_hashes(layer: str) -> None:
    text = (FOLDER / f"{layer}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.search(r"==[^\s;]+", line), line
        assert "--hash=sha256:" in line, line


def test_no_requirement_names_a_registry() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path
        assert not re.search(r"^(-i|-f|--\S*(index|find-links|trusted))", text, re.MULTILINE), path


@pytest.mark.parametrize("layer", LAYERS)
def test_a_lock_file_answers_what_is_asked(layer: str) -> None:
    pins = {pin.name.lower(): pin for pin in pinned(FOLDER / f"{layer}.txt")}
    for wanted in asked_for(FOLDER / f"{layer}.in"):
        (specifier,) = pins[wanted.name.lower()].specifier
        assert wanted.specifier.contains(specifier.version), wanted


@pytest.mark.parametrize(("layer", "project"), [("runtime", "runner"), ("operator", "operator")])
def test_a_layer_is_what_its_packages_depend_on(layer: str, project: str) -> None:
    depended_on = set()
    for name in ("crds", project):
        text = (ROOT / name / "pyproject.toml").read_text(encoding="utf-8")
        depended_on |= {Requirement(d) for d in tomllib.loads(text)["project"]["dependencies"]}
    third_party = {str(r) for r in depended_on if r.name not in OWN}
    assert third_party == {str(r) for r in asked_for(FOLDER / f"{layer}.in")}


def test_on_gpus_everything_is_the_same_but_onnx_runtime() -> None:
    gpu = {str(r) for r in asked_for(FOLDER / "gpu.in")}
    runtime = {str(r) for r in asked_for(FOLDER / "runtime.in")}
    assert {line.replace("onnxruntime-gpu", "onnxruntime") for line in gpu} == runtime
    others = {str(pin) for pin in pinned(FOLDER / "gpu.txt") if pin.name != "onnxruntime-gpu"}
    assert others == {str(p) for p in pinned(FOLDER / "runtime.txt") if p.name != "onnxruntime"}


def test_layers_do_not_disagree() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for layer in LAYERS:
        for pin in pinned(FOLDER / f"{layer}.txt"):
            key = (pin.name.lower(), str(pin.marker))
            versions.setdefault(key, set()).add(str(pin.specifier))
    assert {key: found for key, found in versions.items() if len(found) > 1} == {}


def test_the_page_about_gpus_speaks_of_the_pinned_onnxruntime() -> None:
    (pin,) = (pin for pin in pinned(FOLDER / "gpu.txt") if pin.name == "onnxruntime-gpu")
    page = (ROOT / "docs" / "platform" / "gpu-nodes.md").read_text(encoding="utf-8")
    assert f"`onnxruntime-gpu` {str(pin.specifier).removeprefix('==')}," in page
