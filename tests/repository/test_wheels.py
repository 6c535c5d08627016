"""The three distributions build as wheels, offline, with what a user of them needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from testkit.checkout import ROOT

PACKAGES = {
    "crds": "batch_inference_api",
    "operator": "batch_inference_operator",
    "runner": "batch_inference_runner",
}


@pytest.fixture(scope="module", params=PACKAGES)
def project(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def wheel(project: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(project)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, ROOT / project],
        capture_output=True,
        check=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_is_typed_and_holds_only_its_package(project: str, wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    package = PACKAGES[project]
    assert f"{package}/py.typed" in names
    assert {name.split("/")[0] for name in names} == {
        package,
        next(n.split("/")[0] for n in names if ".dist-info" in n),
    }


def test_a_wheel_says_its_licence_and_its_python(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_every_module_is_in_its_wheel(project: str, wheel: Path) -> None:
    source = ROOT / project / "src"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    assert modules <= set(zipfile.ZipFile(wheel).namelist())
