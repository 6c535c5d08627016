"""`bij schema`: explain the fields of a manifest, from the same schema that a cluster enforces."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from batch_inference_runner.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]

_WIDTH = 96


def explain_field(path: str) -> int:
    """Print what the dotted `path` means to stdout; exit code 64 when there is no such field."""
    from batch_inference_api.crd import custom_resource_definition

    version = custom_resource_definition()["spec"]["versions"][0]
    try:
        text = explain(version["schema"]["openAPIV3Schema"], path)
    except KeyError as error:
        sys.stderr.write(f"bij schema: {error.args[0]}\n")
        return ExitCode.USAGE
    sys.stdout.write(text)
    return ExitCode.SUCCESS


def explain(schema: Schema, path: str) -> str:
    """Describe the field at `path` and those directly below it.

    A path as errors print it leads there too: `spec.model.inputs[0].columns`, and that of an entry
    of a map to the map.

    Raises KeyError with a message that names the fields there are.
    """
    field, parent = schema, schema
    walked: list[str] = []
    for name in filter(None, re.sub(r"\[[^]]*\]", "", path).split(".")):
        if isinstance(field.get("additionalProperties"), dict):
            break
        fields = _fields(field)
        if name not in fields:
            where = ".".join(walked) or "the manifest"
            below = ", ".join(sorted(fields)) or "nothing"
            raise KeyError(f"there is no field {name!r} in {where}; it has: {below}")
        field, parent = fields[name], field
        walked.append(name)
    return "\n".join(_describe(field, parent, walked)) + "\n"


def _describe(field: Schema, parent: Schema, walked: list[str]) -> Iterator[str]:
    yield f"{'.'.join(walked) or 'BatchInferenceJob'}  <{_type(field)}>"
    if walked and walked[-1] in _inner(parent).get("required", ()):
        yield "    required"
    yield from _facts(field)
    if field.get("description"):
        yield ""
        yield from _wrapped(field["description"], "    ")
    rules = [rule["message"] for rule in _inner(field).get("x-kubernetes-validations", ())]
    if rules:
        yield "\nRULES"
        for rule in rules:
            yield from _wrapped(f"- {rule}", "    ")
    if _fields(field):
        yield "\nFIELDS"
        required = _inner(field).get("required", ())
        for name, below in _fields(field).items():
            default = _default(below)
            note = "  required" if name in required else f"  default: {default}" if default else ""
            yield f"  {name}  <{_type(below)}>{note}"
            yield from _wrapped(below.get("description", ""), "      ")


def _facts(field: Schema) -> Iterator[str]:
    default = _default(field)
    if default:
        yield f"    default: {default}"
    limits = [
        f"{words} {field[key]}"
        for key, words in (
            ("minimum", "at least"),
            ("maximum", "at most"),
            ("maxItems", "entries: at most"),
        )
        if key in field
    ]
    if limits:
        yield f"    {', '.join(limits)}"


def _default(field: Schema) -> str:
    """The default as it is written in a manifest; empty if there is none."""
    default = field.get("default")
    if default in (None, {}, []):
        return ""
    return json.dumps(default) if isinstance(default, bool | list) else str(default)


def _inner(field: Schema) -> Schema:
    """The object whose fields the path goes on with: a list stands for its entries."""
    items = field.get("items")
    return items if isinstance(items, dict) else field


def _fields(field: Schema) -> dict[str, Schema]:
    properties: dict[str, Schema] = _inner(field).get("properties", {})
    return properties


def _type(field: Schema) -> str:
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if isinstance(field.get("additionalProperties"), dict):
        return f"map to {_type(field['additionalProperties'])}"
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    return str(field.get("type", "object"))


def _wrapped(text: str, indent: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from textwrap.wrap(
            " ".join(paragraph.split()), _WIDTH, initial_indent=indent, subsequent_indent=indent
        )
