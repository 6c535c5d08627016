"""Every example is complete, is what the API accepts, and has a test."""

from __future__ import annotations

import json

import pytest
import yaml

from batch_inference_api.v1alpha1.job import BatchInferenceJob
from testkit.checkout import ROOT
from testkit.example_copy import EXAMPLES, example_names
from testkit.readme_commands import sh_commands

TESTS_OF_EXAMPLES = ROOT / "tests" / "integration" / "test_examples.py"


def test_examples_are_numbered_without_a_gap() -> None:
    numbers = [int(name.split("-")[0]) for name in example_names()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", example_names())
def test_an_example_has_a_manifest_a_readme_and_a_script_that_prepares_it(name: str) -> None:
    files = {path.name for path in (EXAMPLES / name).iterdir()}
    assert {"job.yaml", "README.md", "prepare.py"} <= files


@pytest.mark.parametrize("name", example_names())
def test_an_example_is_what_the_api_accepts(name: str) -> None:
    document = yaml.safe_load((EXAMPLES / name / "job.yaml").read_text(encoding="utf-8"))
    job = BatchInferenceJob.model_validate_json(json.dumps(document))
    assert job.metadata.name == name.split("-", 1)[1], "the job is named like its folder"


@pytest.mark.parametrize("name", example_names())
def test_an_example_has_a_test(name: str) -> None:
    assert f'"{name}"' in TESTS_OF_EXAMPLES.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", example_names())
def test_an_example_shows_how_it_is_prepared_and_run(name: str) -> None:
    commands = sh_commands(EXAMPLES / name / "README.md")
    assert "python prepare.py" in commands
    assert any(command.startswith("bij run job.yaml") for command in commands)
