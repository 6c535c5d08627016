# ruff: noqa: E501 - a table of texts
"""Documents that are changed at random along an OpenAPI schema: at its bounds, beyond, and off it.

Hypothesis draws the source of randomness only, as for `generated_jobs`.
"""

from __future__ import annotations

import copy
from random import Random
from typing import Any

Schema = dict[str, Any]

_JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.0, 1.5, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**30,
    "", " ", "a", "A", "0", "-", ".", "a\n", "\u00e9", "\u0000", "\U0001f600", "null", "True",
    [], [None], [[]], [""], {}, {"": ""}, {"a": None}, {"$ref": "#"},
)  # fmt: skip
_TEXTS = (
    "s3://bucket/key", "s3://bucket", "s3:///key", "s3://me:pw@bucket/k", "S3://bucket/k", "ftp://h/x",
    "https://h/m.onnx?sig=a@b", "https://me@h/x", "pvc://claim/a/b", "pvc://claim.1", "pvc://Claim/a",
    "pvc://c/../x", "file:///a", "file://a/b", "file:///a/..", "az://c/x/*", "gs://b/..x/?", "data/",
    "1", "500m", "8Gi", "1e3", "1E-3", "1e99", ".5", "5.", "0", "00", "-1", "+1", "1 Gi", "1ki", "9" * 32,
    "0.5", "1.0", "1.000000001", "0.0000000001", ".5", "1e-1", "sha256:" + "a" * 64, "sha256:" + "A" * 64,
    "CPUExecutionProvider", "ExecutionProvider", "auto", "Auto", "batchinference.dev/operator", "a/b/c",
    "/mnt/a", "/mnt//a", "/mnt/../a", "/tmp", "/tmp/x", "/", "//", "a/b", "/mnt/a:b", "../a", "a/..",
    "BIJ_X", "LD_PRELOAD", "PYTHONPATH", "A", "a-b", "1a", "a.b", "a..b", "-a", "a-", "bij-a", "A" * 300,
    "example.com/zone", "2026-08-01T12:00:00Z", "2026-08-01T12:00:00+02:00", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", "2026-08-01", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z",
)  # fmt: skip
_MOST_ITEMS = 3
_LONG_ITEMS = 300
_LONG_TEXT = 40_000


def mutated(random: Random, document: Any, schema: Schema) -> Any:
    """The document with one to three changes, each somewhere below."""
    result = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        result = _change(random, result, schema)
    return result


def drawn(random: Random, schema: Schema, *, depth: int = 0) -> Any:
    """A value as the schema describes it, its patterns and rules left aside."""
    if "enum" in schema:
        return random.choice(schema["enum"])
    kind = schema.get("type") or random.choice(("integer", "string"))
    if kind == "object":
        return _drawn_object(random, schema, depth)
    if kind == "array":
        least = schema.get("minItems", 0)
        count = random.randint(least, max(least, _MOST_ITEMS if depth < 6 else 0))
        return [drawn(random, schema["items"], depth=depth + 1) for _ in range(count)]
    if kind == "boolean":
        return random.random() < 0.5
    return _bound(random, schema) if kind == "integer" else _text(random, schema)


def _drawn_object(random: Random, schema: Schema, depth: int) -> dict[str, Any]:
    if "additionalProperties" in schema:
        values = schema["additionalProperties"]
        return {
            random.choice(_TEXTS): drawn(random, values, depth=depth + 1)
            for _ in range(random.randint(0, 2))
        }
    required = schema.get("required", ())
    return {
        name: drawn(random, child, depth=depth + 1)
        for name, child in schema.get("properties", {}).items()
        if name in required or random.random() < (0.3 if depth else 0.6)
    }


def _change(random: Random, node: Any, schema: Schema) -> Any:
    """Go down at random, and put something else where that ends."""
    if isinstance(node, dict) and "properties" in schema and random.random() < 0.9:
        return _change_field(random, node, schema)
    if isinstance(node, list) and node and "items" in schema and random.random() < 0.7:
        return _change_item(random, node, schema)
    if random.random() < 0.5:
        return drawn(random, schema)
    return random.choice(_JUNK)


def _change_field(random: Random, node: dict[str, Any], schema: Schema) -> dict[str, Any]:
    name = random.choice(list(schema["properties"]))
    child = schema["properties"][name]
    what = random.random()
    if what < 0.04:
        return {**node, random.choice(("unknown", name.upper(), f"{name}s")): random.choice(_JUNK)}
    if what < 0.1:
        return {key: value for key, value in node.items() if key != name}
    if name in node:
        return {**node, name: _change(random, node[name], child)}
    return {**node, name: drawn(random, child) if what < 0.8 else random.choice(_JUNK)}


def _change_item(random: Random, node: list[Any], schema: Schema) -> list[Any]:
    index = random.randrange(len(node))
    what = random.random()
    if what < 0.1:
        return [*node, node[index]]
    if what < 0.15:
        return node * (_LONG_ITEMS // len(node))
    return [*node[:index], _change(random, node[index], schema["items"]), *node[index + 1 :]]


def _bound(random: Random, schema: Schema) -> int:
    least, most = schema.get("minimum", 0), schema.get("maximum", 2**31)
    return random.choice((least, most, least - 1, most + 1, random.randint(least, most)))


def _text(random: Random, schema: Schema) -> str:
    most = schema.get("maxLength", 64)
    length = random.choice((most, most + 1)) if most < _LONG_TEXT else _LONG_TEXT
    letter = random.choice(("a", "\u00e9", "\U0001f600"))
    return letter * length if random.random() < 0.1 else random.choice(_TEXTS)
