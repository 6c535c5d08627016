"""The dependency direction, as import-linter sees it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from testkit.checkout import ROOT

DISTRIBUTIONS = {
    "batch_inference_api": "crds",
    "batch_inference_operator": "operator",
    "batch_inference_runner": "runner",
}


def test_the_import_contracts_hold() -> None:
    lint_imports = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def contracts() -> list[dict[str, object]]:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return configuration["tool"]["importlinter"]["contracts"]


def forbidden_to(*source_modules: str) -> set[str]:
    """Return what the contracts of exactly these modules forbid, imports by others included."""
    found = (c for c in contracts() if c.get("source_modules") == list(source_modules))
    return {
        module
        for contract in found
        if not contract.get("allow_indirect_imports")
        for module in contract["forbidden_modules"]
    }


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("batch_inference_api", {"batch_inference_operator", "batch_inference_runner", "ray"}),
        ("batch_inference_operator", {"batch_inference_runner", "ray", "pyarrow", "onnxruntime"}),
        ("batch_inference_runner", {"batch_inference_operator", "kopf", "kubernetes"}),
    ],
)
def test_a_package_may_not_import_its_neighbours(package: str, forbidden: set[str]) -> None:
    assert forbidden <= forbidden_to(package)


def test_decisions_and_manifests_may_not_touch_the_world() -> None:
    pure = forbidden_to("batch_inference_operator.build", "batch_inference_operator.decide")
    assert {"asyncio", "logging", "kubernetes", "kopf", "random", "time", "os"} <= pure


@pytest.mark.parametrize("package", ["batch_inference_operator", "batch_inference_runner"])
def test_every_module_of_a_package_has_its_layer(package: str) -> None:
    (layered,) = (c for c in contracts() if c.get("containers") == [package])
    assert layered["exhaustive"] is True
    assert not layered.get("ignore_imports")


def test_a_broken_contract_would_be_noticed() -> None:
    """Each contract names modules that exist, so that a rename cannot switch it off."""
    for contract in contracts():
        for module in contract.get("source_modules") or contract["containers"]:
            package, _, inner = module.partition(".")
            folder = ROOT / DISTRIBUTIONS[package] / "src" / package / inner
            assert (folder / "__init__.py").is_file()
