"""The API reference: one table per object of the CRD, in the order of the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]

_HEADER = """\
# BatchInferenceJob: API reference

`{group}/{version}`. Generated from the models by `python -m batch_inference_api.crd --write`.

Fields that are not listed here do not exist: `bij` refuses them. `kubectl apply` does too, unless
server-side field validation is turned off. Numbers with a fraction are written as text.
"""


def api_reference(definition: Schema) -> str:
    """Render a CustomResourceDefinition as Markdown."""
    spec = definition["spec"]
    version = spec["versions"][0]
    parts = [_HEADER.format(group=spec["group"], version=version["name"])]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    for name in ("spec", "status"):
        parts.extend(_sections(name, properties[name]))
    return "\n".join(parts)


def _sections(path: str, schema: Schema) -> Iterator[str]:
    yield f"## {path}\n"
    if schema.get("description"):
        yield f"{schema['description']}\n"
    required = schema.get("required", [])
    lines = ["| Field | Type | Default | Description |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in required else _default(field)
        description = _cell(" ".join(filter(None, (field.get("description"), _limits(field)))))
        lines.append(f"| `{name}` | {_type(field)} | {default} | {description} |")
    yield "\n".join(lines) + "\n"
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    if rules:
        yield "Rules:\n\n" + "\n".join(f"* {rule}" for rule in rules) + "\n"
    for name, field in schema["properties"].items():
        if "properties" in field:
            yield from _sections(f"{path}.{name}", field)
        elif "properties" in field.get("items", {}):
            yield from _sections(f"{path}.{name}[]", field["items"])


def _type(field: Schema) -> str:
    if "enum" in field:
        return _cell(" \\| ".join(f"`{value}`" for value in field["enum"]))
    if field.get("x-kubernetes-int-or-string"):
        return "quantity" if "pattern" in field else "integer or string"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}"
    return "time" if field.get("format") == "date-time" else str(field["type"])


def _default(field: Schema) -> str:
    default = field.get("default")
    if default in (None, {}):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _limits(field: Schema) -> str:
    if field.get("type") == "integer" and "minimum" in field and "maximum" in field:
        return f"From {field['minimum']} to {field['maximum']}."
    if field.get("type") == "array" and "maxItems" in field:
        return f"At most {field['maxItems']} entries."
    return ""


def _cell(text: str) -> str:
    return " ".join(text.split())
