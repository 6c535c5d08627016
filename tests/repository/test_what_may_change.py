"""The page for users lists every field of the spec in the row that the CRD's rules put it in."""

from __future__ import annotations

import re
from typing import Any

from batch_inference_api.crd import custom_resource_definition
from testkit.checkout import ROOT

PAGE = ROOT / "docs" / "kubernetes.md"
NEVER = re.compile(r"(\S+) cannot change once the job exists")
WHILE_SUSPENDED = re.compile(r"(\S+) can change only while the job is suspended")


def spec_schema() -> dict[str, Any]:
    (version,) = custom_resource_definition()["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]


def ruled_by(rule: re.Pattern[str]) -> set[str]:
    messages = [found["message"] for found in spec_schema()["x-kubernetes-validations"]]
    return {found[1] for message in messages if (found := rule.match(message))}


def fields_of_spec() -> set[str]:
    """Fields of the spec; those of `workers` and `errorPolicy` one by one, as they have rules."""
    found = set()
    for name, schema in spec_schema()["properties"].items():
        is_split = name in ("workers", "errorPolicy")
        found |= {f"{name}.{inner}" for inner in schema["properties"]} if is_split else {name}
    return found


def listed_in(row: str) -> set[str]:
    (cell,) = re.findall(rf"^\| {row} \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", cell))


def test_what_can_never_change_is_listed() -> None:
    assert listed_in("never") == ruled_by(NEVER)


def test_what_can_change_while_suspended_is_listed() -> None:
    assert listed_in("while the job is suspended") == ruled_by(WHILE_SUSPENDED)


def test_everything_else_may_change_at_any_time() -> None:
    ruled = ruled_by(NEVER) | ruled_by(WHILE_SUSPENDED)
    assert listed_in("at any time") == fields_of_spec() - ruled
