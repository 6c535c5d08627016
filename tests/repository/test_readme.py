"""The README's commands exist, and what it says of the code is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from batch_inference_runner.errors import ExitCode
from testkit.checkout import ROOT
from testkit.readme_commands import sh_commands

README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def commands_of_bij() -> str:
    bij = Path(sys.executable).parent / "bij"
    return subprocess.run(
        [bij, "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("document", [README, CONTRIBUTING], ids=lambda path: path.name)
def test_every_make_target_that_is_shown_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    shown = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert shown
    assert shown <= make_targets()


def test_every_bij_command_that_is_shown_exists() -> None:
    shown = {c.split()[1] for c in sh_commands(README) if c.startswith("bij ")}
    known = commands_of_bij()
    assert shown
    assert [command for command in shown if not re.search(rf"\b{command}\b", known)] == []


def test_every_command_that_is_shown_is_of_a_kind_that_is_tested() -> None:
    """`make` and `bij` are checked here, examples by their own test."""
    known = re.compile(r"^(git clone |cd |make [a-z-]+$|bij |python prepare\.py$|\. \.venv/bin/)")
    assert [c for c in sh_commands(README) if not known.match(c)] == []


def test_the_exit_codes_in_the_readme_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\d+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted(code.value for code in ExitCode)


def test_help_lists_every_target() -> None:
    printed = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", printed, re.MULTILINE)) == make_targets()
