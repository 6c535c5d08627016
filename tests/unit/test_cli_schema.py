"""`bij schema` explains the fields that a cluster enforces."""

from __future__ import annotations

import pytest

from batch_inference_runner.__main__ import main
from batch_inference_runner.cli.schema import explain

SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["uris"],
            "description": "What to do.",
            "x-kubernetes-validations": [{"rule": "true", "message": "a and b exclude each other"}],
            "properties": {
                "uris": {
                    "type": "array",
                    "maxItems": 3,
                    "items": {
                        "type": "object",
                        "properties": {
                            "mode": {"type": "string", "enum": ["A", "B"], "default": "A"}
                        },
                    },
                }
            },
        }
    },
}


def test_a_field_shows_what_is_below_it_and_its_rules() -> None:
    assert explain(SCHEMA, "spec").splitlines() == [
        "spec  <object>",
        "    required",
        "",
        "    What to do.",
        "",
        "RULES",
        "    - a and b exclude each other",
        "",
        "FIELDS",
        "  uris  <list of object>  required",
    ]


@pytest.mark.parametrize("path", ["spec.uris.mode", ".spec.uris[].mode", "spec.uris[12].mode"])
def test_a_path_goes_through_lists(path: str) -> None:
    text = explain(SCHEMA, path)
    assert text == "spec.uris.mode  <A | B>\n    default: A\n"


@pytest.mark.parametrize("entry", [".cpu", '["nvidia.com/gpu"]', ""])
def test_the_path_of_an_entry_explains_the_map(
    entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", f"spec.workers.resources.limits{entry}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("spec.workers.resources.limits  <map to integer or string>")


def test_a_listing_of_fields_shows_their_defaults() -> None:
    assert explain(SCHEMA, "spec.uris").splitlines()[-1] == "  mode  <A | B>  default: A"


def test_an_unknown_field_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "spec.modle"]) == 64
    err = capsys.readouterr().err
    assert "there is no field 'modle' in spec; it has:" in err
    assert "model" in err


@pytest.mark.parametrize(
    "path", ["", "spec", "spec.model", "spec.input", "spec.output.mode", "status"]
)
def test_the_real_schema_can_be_explained(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", path]) == 0
    assert len(capsys.readouterr().out) > 40
