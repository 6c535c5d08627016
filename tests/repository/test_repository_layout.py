"""What the layout of the repository promises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from testkit.checkout import ROOT, project_files, text_files

FORBIDDEN_WORDS = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b")
VAGUE_NAMES = ("util", "utils", "common", "helpers", "misc")
LONGEST_FILE_LINES = 400


@pytest.mark.parametrize("folder", ["operator", "runner", "crds"])
def test_project_folders_are_not_packages(folder: str) -> None:
    """An `operator/__init__.py` would shadow the standard library for what runs at the root."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_standard_library_is_not_shadowed_at_the_root() -> None:
    subprocess.run(
        [sys.executable, "-c", "import operator; operator.itemgetter(0)"], cwd=ROOT, check=True
    )


def test_only_the_testkit_is_a_package_below_tests() -> None:
    packages = {path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("__init__.py")}
    assert {package.parts[:2] for package in packages} == {("tests", "testkit")}


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []


def test_nothing_is_left_to_be_done_in_a_comment() -> None:
    found = [name for name, text in text_files() if FORBIDDEN_WORDS.search(text)]
    assert found == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        path
        for path in project_files()
        if path.suffix == ".py" and (path.stem in VAGUE_NAMES or path.stem.startswith("base_"))
    ]
    assert vague == []


def test_no_source_file_is_too_long_to_read() -> None:
    sources = (path for path in project_files() if path.suffix == ".py" and "src" in path.parts)
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sources
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE_LINES
    }
    assert long == {}


def test_every_package_says_what_it_is_for() -> None:
    silent = [
        path
        for path in project_files()
        if path.name == "__init__.py"
        and "src" in path.parts
        and not path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_the_license_is_the_full_apache_license() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def links_of(text: str) -> list[str]:
    return [
        target.split("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in target and not target.startswith(("#", "mailto:"))
    ]


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        (name, link)
        for name, text in text_files()
        if name.endswith(".md")
        for link in links_of(text)
        if not (ROOT / Path(name).parent / link).exists()
    ]
    assert broken == []
