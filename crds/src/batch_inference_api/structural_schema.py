"""pydantic models -> the structural schema that an API server accepts.

Field docs are read from the source here, rather than by pydantic when a model is defined: that
would cost every run tens of milliseconds.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

from batch_inference_api.v1alpha1.resource import ResourceModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = (
    "type", "format", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "required",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)  # fmt: skip
_CONVERTED = ("$ref", "anyOf", "const", "default", "description", "properties", "items",
              "additionalProperties", "allOf")  # fmt: skip
_DROPPED = ("title", "propertyNames")  # a server bounds the size of keys by the size of a request


def structural_schema(model: type[ResourceModel]) -> Schema:
    """Make the structural schema of an object.

    Raises:
        ValueError: the model uses something that has no structural counterpart.
    """
    document = model.model_json_schema(by_alias=True)
    models = {found.__name__: found for found in _models_below(model)}
    return _Converter(document.pop("$defs", {}), models).convert(document, model)


def _models_below(model: type[ResourceModel]) -> Iterator[type[ResourceModel]]:
    """Every model of the package that could be part of another."""
    pending: list[type[BaseModel]] = [ResourceModel]
    while pending:
        found = pending.pop()
        pending.extend(found.__subclasses__())
        if issubclass(found, ResourceModel):
            yield found
    yield model


class _Converter:
    """Converts one document; definitions are inlined wherever they are referred to."""

    def __init__(self, definitions: Schema, models: dict[str, type[ResourceModel]]) -> None:
        self._definitions = definitions
        self._models = models

    def convert(self, node: Schema, model: type[ResourceModel] | None = None) -> Schema:
        """Convert one node of pydantic's JSON schema; `model` is the class that it describes."""
        node = _without_null(node)
        reference = node.get("$ref")
        if reference is not None:
            name = reference.rpartition("/")[2]
            siblings = {key: value for key, value in node.items() if key != "$ref"}
            return self.convert({**self._definitions[name], **siblings}, self._models.get(name))
        _refuse_unknown(node)
        result: Schema = {}
        if "description" in node:
            result["description"] = inspect.cleandoc(node["description"]).replace("\n", " ")
        result.update(self._values(node))
        result.update(self._children(node, model))
        if model is not None and model.rules:
            result["x-kubernetes-validations"] = [_validation(rule) for rule in model.rules]
        return result

    def _values(self, node: Schema) -> Schema:
        result = {key: node[key] for key in _KEPT if key in node}
        if "const" in node:
            result["enum"] = [node["const"]]
        if "enum" in result:
            result["type"] = "string"
        if node.get("anyOf") is not None:
            result["anyOf"] = node["anyOf"]
        if node.get("default") not in (None, [], {}):
            result["default"] = node["default"]
        return result

    def _children(self, node: Schema, model: type[ResourceModel] | None) -> Schema:
        result: Schema = {}
        if "items" in node:
            result["items"] = self.convert(node["items"])
        if isinstance(node.get("additionalProperties"), dict):
            values = self.convert(node["additionalProperties"])
            values.pop("description", None)
            result["additionalProperties"] = values
        if "properties" in node:
            docs = {} if model is None else field_docs(model)
            result["properties"] = {
                name: self._property(name, child, docs=docs, required=node.get("required", []))
                for name, child in node["properties"].items()
            }
        return result

    def _property(
        self, name: str, node: Schema, *, docs: dict[str, str], required: list[str]
    ) -> Schema:
        description = {"description": docs[name]} if name in docs else {}
        result = self.convert({**node, **description})
        made_by_factory = "default" not in node and name not in required
        if made_by_factory and "properties" in result:
            # The server fills in the defaults of its fields only if the object itself is there.
            result["default"] = {}
        return result


def _without_null(node: Schema) -> Schema:
    """`X | None` -> X: an absent field, never a null."""
    alternatives = node.get("anyOf")
    if alternatives is None or {"type": "null"} not in alternatives:
        return node
    rest = [alternative for alternative in alternatives if alternative != {"type": "null"}]
    if len(rest) != 1:
        raise ValueError(f"a union of {len(rest)} types is not structural: {node}")
    siblings = {key: value for key, value in node.items() if key != "anyOf"}
    return {**rest[0], **siblings}


def _refuse_unknown(node: Schema) -> None:
    unknown = set(node) - {*_KEPT, *_CONVERTED, *_DROPPED}
    if unknown:
        raise ValueError(f"{sorted(unknown)} have no place in a structural schema: {node}")
    if "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
        raise ValueError(f"a union is not structural: {node}")


def _validation(rule: Any) -> Schema:
    validation = {"rule": rule.cel, "message": rule.message}
    if rule.field:
        validation["fieldPath"] = f".{rule.field}"
    return validation


@functools.cache
def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The sentences under the fields of a model, by the field's name on the wire."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        tree = _classes_of(base.__module__).get(base.__name__)
        if tree is None:
            continue
        for statement, following in zip(tree.body, tree.body[1:], strict=False):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(following, ast.Expr):
                continue
            text = following.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                name = ast.unparse(statement.target)
                field = model.model_fields.get(name)
                docs[(field.alias if field else None) or name] = " ".join(text.value.split())
    return docs


@functools.cache
def _classes_of(module: str) -> dict[str, ast.ClassDef]:
    if not module.startswith("batch_inference_api."):
        return {}
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
