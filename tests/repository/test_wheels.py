"""The two distributions build as wheels, offline, with what a user of them needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from testkit.checkout import ROOT


@pytest.fixture(scope="module", params=["crds", "runner"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = ROOT / request.param
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, project],
        capture_output=True,
        check=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_is_typed_and_holds_only_its_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    package = "batch_inference_api" if "api" in wheel.name else "batch_inference_runner"
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


def test_every_module_is_in_its_wheel(wheel: Path) -> None:
    project = "crds" if "api" in wheel.name else "runner"
    source = ROOT / project / "src"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    assert modules <= set(zipfile.ZipFile(wheel).namelist())
