"""The generated CRD holds nothing that an API server refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from batch_inference_api.crd import custom_resource_definition, generated_files
from batch_inference_api.structural_schema import field_docs, structural_schema
from batch_inference_api.v1alpha1.job import JobSpec
from batch_inference_api.v1alpha1.output import OutputSpec
from batch_inference_api.v1alpha1.resource import ResourceModel
from batch_inference_api.v1alpha1.uri import check_target, check_uri

# What a structural schema of apiextensions.k8s.io/v1 knows, without what it forbids at once.
KNOWN = {
    "type", "format", "description", "default", "enum", "pattern", "minimum", "maximum",
    "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "required", "properties",
    "items", "additionalProperties", "anyOf", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
}  # fmt: skip
TYPES = {"object", "array", "string", "integer", "boolean"}  # no "number": floats lose digits


def root() -> dict[str, Any]:
    version = custom_resource_definition()["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


NODES = dict(nodes(root()))
OWN_NODES = {path: node for path, node in NODES.items() if path.startswith((".spec", ".status"))}


def test_every_node_has_a_type_and_known_keys_only():
    for path, node in NODES.items():
        assert set(node) <= KNOWN, path
        assert ("x-kubernetes-int-or-string" in node) != (node.get("type") in TYPES), path


def test_int_or_string_is_written_in_the_one_form_that_a_server_allows():
    for path, node in NODES.items():
        if "anyOf" in node:
            assert node["x-kubernetes-int-or-string"] is True, path
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path


def test_properties_and_additional_properties_exclude_each_other():
    for path, node in NODES.items():
        assert not {"properties", "additionalProperties"} <= set(node), path
        assert isinstance(node.get("additionalProperties", {}), dict), path


def test_everything_is_bounded():
    for path, node in OWN_NODES.items():
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert "x-kubernetes-list-type" in node or path.endswith(".columns"), path
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
        if node.get("type") == "integer" or {"anyOf", "pattern"} <= set(node):
            assert "minimum" in node, path


def test_keys_of_list_maps_are_required():
    for path, node in NODES.items():
        keys = node.get("x-kubernetes-list-map-keys", ())
        assert set(keys) <= set(node.get("items", {}).get("required", ())), path
        assert bool(keys) == (node.get("x-kubernetes-list-type") == "map"), path


def test_required_fields_have_no_default():
    for path, node in NODES.items():
        for name in node.get("required", ()):
            assert "default" not in node["properties"][name], f"{path}.{name}"


def test_defaults_obey_their_own_schema():
    for path, node in OWN_NODES.items():
        default = node.get("default")
        if "enum" in node and default is not None:
            assert default in node["enum"], path
        if node.get("type") == "object" and default == {}:
            assert not node.get("required"), path


def test_rules_have_messages_and_blame_a_field_that_exists():
    for path, node in NODES.items():
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"], path
            assert "\n" not in rule["message"], path
            field = rule.get("fieldPath", "").removeprefix(".")
            assert not field or field in node["properties"], path


def test_rules_name_only_fields_that_exist():
    for path, node in NODES.items():
        for rule in node.get("x-kubernetes-validations", ()):
            if path == "" or "properties" not in node:
                continue
            for found in re.findall(r"(?:self|oldSelf)\.(\w+)(?:\.(\w+)\b(?!\())?", rule["rule"]):
                field, inner = found
                assert field in node["properties"], (path, rule)
                child = node["properties"][field]
                assert not inner or inner in child.get("properties", ()), (path, rule)


def test_patterns_are_plain_enough_to_mean_the_same_in_re2():
    for path, node in NODES.items():
        pattern = node.get("pattern", "")
        assert not re.search(r"\(\?|\\[dwsbBAZz]", pattern), path
        assert not pattern or (pattern[0] == "^" and pattern[-1] == "$"), path


def test_every_field_has_a_sentence():
    for path, node in OWN_NODES.items():
        if not path.endswith(("[]", "{}")):
            assert node.get("description", "").endswith((".", "`.")), path


def test_a_status_that_nobody_wrote_is_not_ready_yet():
    assert root()["properties"]["status"]["default"] == {"observedGeneration": -1}


def test_what_cannot_change_is_compared_with_the_stored_object():
    rules = [rule["rule"] for rule in NODES[".spec"]["x-kubernetes-validations"]]
    for field in ("model", "input", "output", "preprocessing", "postprocessing", "sharding"):
        assert any(f"has(self.{field}) == has(oldSelf.{field})" in rule for rule in rules), field


def test_the_crd_fits_into_the_annotation_of_kubectl_apply():
    for path, text in generated_files().items():
        if path.suffix == ".yaml":
            assert len(text) < 200 * 1024  # of 256 KiB
            assert yaml.safe_load(text) == custom_resource_definition()
            assert "&id" not in text


def test_generating_twice_gives_the_same_text():
    assert generated_files() == generated_files()


def test_a_field_called_title_keeps_its_place():
    class Titled(ResourceModel):
        title: Annotated[str, Field(max_length=5)]

    assert structural_schema(Titled)["properties"] == {"title": {"type": "string", "maxLength": 5}}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (int | str, "union is not structural"),
        (Annotated[int, Field(gt=0)], "exclusiveMinimum"),
        (tuple[int, str], "prefixItems"),
        (set[str], "uniqueItems"),
        (JobSpec | OutputSpec, "union is not structural"),
    ],
)
def test_what_has_no_structural_counterpart_is_refused_by_the_generator(annotation, message):
    model = type("Odd", (ResourceModel,), {"__annotations__": {"field": annotation}})

    with pytest.raises(ValueError, match=message):
        structural_schema(model)


def test_descriptions_are_the_sentences_under_the_fields():
    assert field_docs(OutputSpec)["mode"].startswith("What happens when the folder holds a result")


def test_a_rule_that_python_does_not_check_compares_with_the_stored_object():
    pending = [ResourceModel]
    while pending:
        model = pending.pop()
        pending.extend(model.__subclasses__())
        for rule in model.rules:
            assert (rule.holds is None) == ("oldSelf" in rule.cel), rule.message


def server_accepts(uri: str, path: str) -> bool:
    """Judge a URI by the rules in the schema, each one `[!]self.matches('...')` or several."""
    return all(
        any(holds(part, uri) for part in validation["rule"].split(" || "))
        for validation in NODES[path]["x-kubernetes-validations"]
    )


def holds(part: str, uri: str) -> bool:
    negated, what, text = re.fullmatch(r"(!?)self\.(matches|startsWith)\('(.*)'\)", part).groups()
    found = uri.startswith(text) if what == "startsWith" else re.search(text, uri) is not None
    return found != bool(negated)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://b", "s3://b/k/*.parquet", "s3:///k", "s3://me:pw@b/k", "https://h/x?sig=a@b",
        "https://me@h", "pvc://claim/a/b", "pvc://claim", "pvc:///a", "pvc://c/../x", "pvc://c/a/..",
        "file:///a", "file://a/b", "file:///a/../b", "az://c/x", "gs://b/..x/y", "ftp://h/x", "S3://b",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("path", "check"),
    [(".spec.input.storageUris[]", check_uri), (".spec.output.storageUri", check_target)],
    ids=["source", "target"],
)
def test_server_and_python_agree_about_uris(uri, path, check):
    try:
        check(uri)
    except ValueError:
        accepted = False
    else:
        accepted = True
    assert server_accepts(uri, path) == accepted


def test_a_server_refuses_plain_paths():
    assert not server_accepts("data/", ".spec.input.storageUris[]")
    assert not server_accepts("/data/", ".spec.output.storageUri")
