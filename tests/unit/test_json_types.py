"""Which types JSON Lines are read as."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from batch_inference_runner.formats.json_types import infer_schema


def type_of(*values: str) -> pa.DataType:
    """The type of a column with these values, written as JSON."""
    lines = "".join(f'{{"x": {value}}}\n' for value in values)
    return infer_schema([lines.encode()], numbers=frozenset()).field("x").type


BIG = str(2**63)
STRUCT = pa.struct({"a": pa.float64(), "b": pa.string()})
TYPES = {
    "whole numbers": (["1", "-1"], pa.int64()),
    "whole numbers beyond int64": (["1", BIG], pa.uint64()),
    "numbers that no integer holds": ([BIG, "-1"], pa.float64()),
    "fractions": (["1", "0.5"], pa.float64()),
    "booleans are no numbers": (["true", "true", "1"], pa.bool_()),
    "most of them": (["1", '"a"', '"b"'], pa.string()),
    "of two that are as many the first": (["1", '"a"'], pa.int64()),
    "nulls have no say": (["1", '"a"', '"b"', "null", "null"], pa.string()),
    "nothing but nulls": (["null"], pa.string()),
    "lists": (["[1]", "[]", "[0.5]"], pa.list_(pa.float64())),
    "lists of what does not fit": (['[1, "a"]', "[2]"], pa.list_(pa.int64())),
    "objects": (['{"a": 1}', '{"b": "x"}', '{"a": 0.5}'], STRUCT),
    "objects that contradict most others": (
        ['{"a": 1.5, "b": "x"}', '{"a": 1, "b": "y"}', '{"a": "z", "c": 3}'], STRUCT,
    ),
    "objects in lists": (['[{"a": 1}, {"b": "x"}]', '[{"a": 0.5}]'], pa.list_(STRUCT)),
    "an empty object": (["{}"], pa.struct([])),
}  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), TYPES.values(), ids=TYPES)
def test_a_column_has_the_type_that_most_values_agree_on(values, expected):
    assert type_of(*values) == expected


def test_a_key_that_is_no_unicode_is_no_column():
    lines = b'{"x": 1, "\\ud800": 2, "y": {"\\udc00": 3, "z": 4}}\n'

    schema = infer_schema([lines], numbers=frozenset())

    assert schema == pa.schema({"x": pa.int64(), "y": pa.struct({"z": pa.int64()})})


def test_objects_with_other_keys_on_every_line_are_made_a_type_of_once(monkeypatch):
    made = []
    struct = pa.struct
    monkeypatch.setattr(pa, "struct", lambda fields: made.append(fields) or struct(fields))

    kind = type_of(*(json.dumps({f"key-{line}": line}) for line in range(500)))

    assert len(kind) == 500
    assert len(made) == 1
