"""What a new CRD no longer accepts, or no longer shows, that an older one did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_UPPER_BOUNDS = ("maximum", "maxLength", "maxItems", "maxProperties")
_LOWER_BOUNDS = ("minimum", "minLength", "minItems", "minProperties")
_FIXED = ("type", "format", "pattern", "x-kubernetes-int-or-string", "x-kubernetes-list-type")


def find_breaks(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """Say for each field what was taken away or tightened: `spec.input: keyField was removed`."""
    yield from (f"{path}: {told}" for told in _of_this(old, new))
    fields, now = old.get("properties", {}), new.get("properties", {})
    for name, field in fields.items():
        below = f"{path}.{name}".removeprefix(".")
        if name in now:
            yield from find_breaks(field, now[name], below)
        else:
            yield f"{below}: was removed"
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(old.get(key), Mapping) and isinstance(new.get(key), Mapping):
            yield from find_breaks(old[key], new[key], path + suffix)


def _of_this(old: Schema, new: Schema) -> Iterator[str]:
    for key in _FIXED:
        if old.get(key) != new.get(key) and new.get(key) is not None:
            yield f"{key} was {old.get(key)!r} and is {new[key]!r}"
    for key in _UPPER_BOUNDS:
        if key in new and new[key] < old.get(key, float("inf")):
            yield f"{key} was lowered from {old.get(key)} to {new[key]}"
    for key in _LOWER_BOUNDS:
        if key in new and new[key] > old.get(key, float("-inf")):
            yield f"{key} was raised from {old.get(key)} to {new[key]}"
    if "enum" in new and (gone := sorted(set(old.get("enum", [])) - set(new["enum"]))):
        yield f"{', '.join(map(str, gone))} may no longer be said"
    if needed := sorted(set(new.get("required", [])) - set(old.get("required", []))):
        yield f"{', '.join(needed)} must now be said"
    if old.get("default") != new.get("default"):
        yield f"the default was {old.get('default')!r} and is {new.get('default')!r}"
    for rule in sorted(_rules(new) - _rules(old)):
        yield f"a rule is new: {rule}"


def _rules(schema: Schema) -> set[str]:
    return {found["rule"] for found in schema.get("x-kubernetes-validations", [])}
