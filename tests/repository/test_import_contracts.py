"""The dependency direction, as import-linter sees it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from testkit.checkout import ROOT


def test_the_import_contracts_hold() -> None:
    lint_imports = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def contracts() -> list[dict[str, object]]:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return configuration["tool"]["importlinter"]["contracts"]


def test_the_api_package_may_import_nothing_of_the_runner() -> None:
    (api,) = (c for c in contracts() if c.get("source_modules") == ["batch_inference_api"])
    assert {"batch_inference_runner", "ray", "pyarrow", "numpy"} <= set(api["forbidden_modules"])


def test_every_package_of_the_runner_has_its_layer() -> None:
    (layered,) = (c for c in contracts() if c["type"] == "layers")
    assert layered["exhaustive"] is True
    assert not layered.get("ignore_imports")


def test_a_broken_contract_would_be_noticed() -> None:
    """Each contract names modules that exist, so that a rename cannot switch it off."""
    for contract in contracts():
        for module in contract.get("source_modules") or contract["containers"]:
            distribution = "crds" if module == "batch_inference_api" else "runner"
            assert (ROOT / distribution / "src" / module / "__init__.py").is_file()
