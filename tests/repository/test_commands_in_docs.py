"""What the documents tell readers to type is there: targets, commands, flags, keys and paths."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from batch_inference_operator.kubectl_bij import arguments as kubectl_bij
from batch_inference_runner.cli import arguments as bij
from testkit.checkout import ROOT
from testkit.readme_commands import shown_commands

DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("charts/*/README.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
)
VALUES = yaml.safe_load((ROOT / "charts/batch-inference-operator/values.yaml").read_text())
FOLDERS = "charts|crds|docs|examples|operator|runner|requirements|tests"
PATH = re.compile(rf"(?:\./)?(?:{FOLDERS})(?:/[\w.-]+)*/?")

pytestmark = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def matches(document: Path, pattern: str) -> Iterator[re.Match[str]]:
    for command in shown_commands(document):
        yield from re.finditer(pattern, command)


def flags_by_command(parser: argparse.ArgumentParser) -> dict[str, set[str]]:
    (commands,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {
        name: {flag for action in command._actions for flag in action.option_strings}
        for name, command in commands.choices.items()
    }


PLUGIN_FLAGS = flags_by_command(kubectl_bij._parser())
BIJ_FLAGS = flags_by_command(bij._parser())


def test_make_targets_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    shown = {found[1] for found in matches(document, r"^make ([a-z][a-z-]*)")}
    assert shown - targets == set()


@pytest.mark.parametrize(
    ("pattern", "known"),
    [
        (r"(?:^| -- )bij ([a-z]+\b)([^|;&#]*)", BIJ_FLAGS),
        (r"\bkubectl bij ([a-z]+\b)([^|;&#]*)", PLUGIN_FLAGS),
    ],
    ids=["bij", "kubectl bij"],
)
def test_commands_and_their_flags_exist(
    document: Path, pattern: str, known: dict[str, set[str]]
) -> None:
    for found in matches(document, pattern):
        assert found[1] in known, found[0]
        flags = re.findall(r"(?<!\S)--?[a-z][a-z-]*", found[2])
        assert set(flags) <= known[found[1]], found[0]


def test_keys_of_the_chart_exist(document: Path) -> None:
    for found in matches(document, r"--set(?:-string)? '?([\w.]+)="):
        if found[1].startswith("spec."):  # of a manifest, for `bij run`
            continue
        values = VALUES
        for key in found[1].split("."):
            assert key in values, found[0]
            values = values[key]


def test_paths_exist(document: Path) -> None:
    is_example = document.is_relative_to(ROOT / "examples")
    for command in shown_commands(document):
        words = command.split("#")[0].split()
        if words[:1] not in ([name] for name in ("docker", "helm", "kubectl", "pip", "python")):
            continue
        for word in words:
            if PATH.fullmatch(word):
                assert (ROOT / word).exists(), command
            elif is_example and re.fullmatch(r"[\w/-]+\.(?:py|yaml)", word):
                assert (document.parent / word).exists(), command
