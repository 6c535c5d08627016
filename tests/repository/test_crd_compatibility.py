"""Within v1alpha1 nothing is taken away or tightened but what the changelog names: `spec.x.*`.

The CRD of each version lies in tests/data, in the chart that it was installed by.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from batch_inference_api.crd import custom_resource_definition
from testkit.checkout import ROOT
from testkit.crd_compatibility import find_breaks

PUBLISHED = sorted((ROOT / "tests" / "data").glob("release-*/chart/files/crds/*.yaml"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def schema_of(definition: dict[str, Any]) -> dict[str, Any]:
    (version,) = definition["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda path: path.parents[3].name)
def test_what_an_older_crd_accepted_is_accepted_still(published) -> None:
    old = schema_of(yaml.safe_load(published.read_text()))
    breaks = find_breaks(old, schema_of(custom_resource_definition()))
    assert [told for told in breaks if not is_announced(told.partition(":")[0])] == []


def is_announced(field: str) -> bool:
    parts = field.split(".")
    groups = (".".join(parts[:count]) + ".*" for count in range(2, len(parts)))
    return any(f"`{name}`" in CHANGELOG for name in (field, *groups))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"properties": {"a": {}}}, {"properties": {}}, ["a: was removed"]),
        ({"maximum": 9}, {"maximum": 5}, [": maximum was lowered from 9 to 5"]),
        ({}, {"maxItems": 5}, [": maxItems was lowered from None to 5"]),
        ({}, {"minLength": 1}, [": minLength was raised from None to 1"]),
        ({"enum": ["A", "B"]}, {"enum": ["A", "C"]}, [": B may no longer be said"]),
        ({"required": ["a"]}, {"required": ["a", "b"]}, [": b must now be said"]),
        ({"type": "integer"}, {"type": "string"}, [": type was 'integer' and is 'string'"]),
        ({"default": 1}, {"default": 2}, [": the default was 1 and is 2"]),
        ({}, {"x-kubernetes-validations": [{"rule": "r"}]}, [": a rule is new: r"]),
        (
            {"properties": {"a": {"items": {"maximum": 2}}}},
            {"properties": {"a": {"items": {"maximum": 1}}}},
            ["a[]: maximum was lowered from 2 to 1"],
        ),
        ({"maximum": 5, "required": ["a"]}, {"properties": {"b": {}}}, []),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else "",
)
def test_what_counts_as_a_break(old: dict, new: dict, told: list[str]) -> None:
    assert list(find_breaks(old, new)) == told
