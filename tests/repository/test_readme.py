"""What the README says of the code is so; test_commands_in_docs.py looks at its commands."""

from __future__ import annotations

import re
import subprocess

from batch_inference_runner.errors import ExitCode
from testkit.checkout import ROOT
from testkit.readme_commands import sh_commands

README = ROOT / "README.md"


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def test_every_command_that_is_shown_is_of_a_kind_that_is_tested() -> None:
    """Those of the examples have a test of their own."""
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
